//go:build tools

// Package tools keeps the main packages that are built here in go.mod.
package tools

import (
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
	_ "istio.io/istio/pilot/cmd/pilot-agent"
)
