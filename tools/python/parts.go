//go:build tools

// Package main names the module whose interpreter long searches of the simulator run on, so that go.sum pins it.
package main

import _ "github.com/kluctl/go-embed-python/python"
