//go:build tools

// Package tools pins Helm, which installs charts on clusters of ours.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
