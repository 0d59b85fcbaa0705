//! Nothing: the tests of whole features stand in `it/`, one binary.
