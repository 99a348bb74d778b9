// Package exchange is what asking registries (package client) and asking rooms
// (package player) have in common: when a request is sent again, with which id,
// to which addresses, and when it is given up.
package exchange
