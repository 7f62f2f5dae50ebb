//go:build tools

// Package tools pins kwok, the fake nodes that upstream-only control planes are run with.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
