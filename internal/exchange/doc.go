// Package exchange is what asking registries (package client) and asking rooms
// (package player) have in common: when a request is sent again, under which id,
// and to which addresses.
package exchange
