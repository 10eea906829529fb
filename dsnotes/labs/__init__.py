"""Coursework: labs built from one source each, and graded behind a wall.

`source` reads a lab, `submission` lays a student's answers into it, `examine` runs it (`desk` in a process of its own,
behind `wall`), `course` keeps nbgrader's folder and gradebook, `results` writes what people read, `command` is
`dsnotes labs`.
"""
