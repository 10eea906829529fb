"""The networks that the five papers compare with, one file per network."""
