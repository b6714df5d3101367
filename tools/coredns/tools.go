//go:build tools

// Package tools keeps the main package that is built here in go.mod.
package tools

import _ "github.com/coredns/coredns"
