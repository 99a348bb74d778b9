// Package storetest holds what every implementation of [storage.Store] is held
// to: [Test], a suite with one named subtest for each property of the contract,
// and [Model], the simplest Store that could be right. The suite runs random
// operations on an implementation and on a Model side by side; simulations of
// the service use a Model as its store, and can break it on purpose to prove
// that they would notice.
//
// [TestLog] does the same for every [engine.Log], and [MemoryLog] is the simplest
// of those, with faults that can be switched on.
package storetest
