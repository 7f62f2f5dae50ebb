//go:build tools

// Package tools pins controller-runtime, whose envtest suites `cargo xtask envtest` runs.
package tools

import _ "sigs.k8s.io/controller-runtime/pkg/envtest"
