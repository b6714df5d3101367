//go:build tools

// Package tools keeps the main packages that are built here in go.mod.
package tools

import (
	_ "k8s.io/kube-state-metrics/v2"
)
