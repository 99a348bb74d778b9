// Package e2e tests the installed programs as a whole: scripts, networks of
// several hosts, `make play`, versions, and what the README shows.
package e2e
