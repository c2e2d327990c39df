# Reads CTest's LastTest.log, prints "PASSED FAILED SKIPPED" in test cases.
# cmocka: "[  PASSED  ] 3 test(s)."; busted: "3 successes / 0 failures / 0 errors / 0 pending"; the browser tests: "3 passed, 0 failed".
function finish(program_failed) {
    if (program_failed && failed == 0) failed = 1 # crashed or timed out before it could say
    if (!program_failed && passed + failed + skipped == 0) passed = 1
    all_passed += passed; all_failed += failed; all_skipped += skipped
    passed = failed = skipped = 0
}
/^[0-9]+\/[0-9]+ Test(ing)?: / { passed = failed = skipped = 0 }
/^\[  PASSED  \] [0-9]+ test/ { passed += $4 }
/^\[  FAILED  \] [0-9]+ test\(s\)/ { failed += $4 }
/^\[  SKIPPED \] [0-9]+ test\(s\)/ { skipped += $4 }
/^[0-9]+ success(es)? \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ { passed += $1; failed += $4 + $7; skipped += $10 }
/^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3 }
/^Test Passed\.$/ { finish(0) }
/^Test Failed\.$/ { finish(1) }
/^Test Skipped\.?$/ { all_skipped++ }
END { print all_passed + 0, all_failed + 0, all_skipped + 0 }
