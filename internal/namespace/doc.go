// Package namespace gives tests their own networks and mounts (Linux
// namespaces(7)): file systems that fill up, machines with several addresses,
// links that lose and reorder packets. Nothing of that is visible outside, and
// nothing outlives the test, even if it is killed: a namespace ends with the
// last process in it.
//
// On a machine that does not allow this the test ends with [testenv.NotRun].
package namespace
