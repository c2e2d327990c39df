# examples/ and bench/: programs that use libsi as anybody would.
