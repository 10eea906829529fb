"""Guards against unsafe paths, half-written or damaged files, misspelt names and unescaped HTML.

Uses the standard library only, so that every other package, the data scripts and the labs can import it.
"""
