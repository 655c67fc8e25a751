//go:build tools

// Package main names the modules whose CustomResourceDefinitions the cluster's tests install, so that go.sum pins them.
package main

import (
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)
