//go:build !unix

package main

import "net"

// listenPrivately makes a socket with the permissions of its folder.
func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
