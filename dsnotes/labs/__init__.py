"""Coursework: labs built from one source each; student code runs in a sandbox, and the tests run outside of it.

`source` reads a lab, `intake` finds what was handed in, `submission` lays a student's answers into the lab. `sandbox`
starts a `worker`, `channel` and `wire` carry questions and answers, `proxy` makes functions of them, `autograder` runs
the tests. `gradebook` and `feedback` write what people read; `doctor` tries the `escapes`; `command` is `dsnotes labs`.
"""
