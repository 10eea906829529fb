"""What comes from outside stays where it was let in, and what was written is what is read: paths, files, names, markup.

This floor needs Python alone, so that every other floor, the data scripts and the labs can use it.
"""
