"""Kill tests and fuzzers: too long for the test suite, run before a release."""
