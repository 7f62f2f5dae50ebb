//go:build tools

// Package tools pins kwok, the fake nodes that upstream-only control planes are run with, and kwokctl, which starts
// clusters of a host's own programs.
package tools

import (
	_ "sigs.k8s.io/kwok/cmd/kwok"
	_ "sigs.k8s.io/kwok/cmd/kwokctl"
)
