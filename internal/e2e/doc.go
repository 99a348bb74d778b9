// Package e2e holds the tests that run the programs as a whole, as they are
// installed: scripts, networks of several hosts, `make play`, and what the README
// shows.
package e2e
