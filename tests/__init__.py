"""The tests: each package mirrors the one it tests; `test_tidy` holds the rules of the house over all of them."""
