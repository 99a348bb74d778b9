package command

// Describe is for tests.
var Describe = describe
