"""Networks that the five papers compare with, one file each."""
