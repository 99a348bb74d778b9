// Package namespace gives tests networks and mounts of their own (namespaces(7)
// of Linux): file systems that fill up, machines with several addresses, links
// that lose and reorder packets. Nothing of them is seen outside, and nothing
// outlives the test, even one that is killed: a namespace ends with the last
// process in it.
//
// A test that the machine does not allow this ends with [testenv.NotRun].
package namespace
