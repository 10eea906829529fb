"""Coursework: each lab is built from one source file; student code runs in a sandbox, the tests run outside it.

`source` reads a lab, `intake` finds the submitted files, `submission` puts a student's answers into the lab. `sandbox`
starts a `worker`; `channel` and `wire` carry requests and answers; `proxy` wraps them as functions; `autograder` runs
the tests. `gradebook` and `feedback` write the results; `doctor` tries the `escapes`; `command` is `dsnotes labs`.
"""
