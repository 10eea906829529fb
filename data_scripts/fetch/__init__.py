"""The code shared by the data scripts: fetch, verify, convert to the common layout, check.

A script holds the facts of a dataset, a plan of downloads and a function that turns a download into cases.
"""

from fetch.command import run
from fetch.download import Download
from fetch.facts import About, Converted
from fetch.pieces import Piece, Plan
from fetch.volume import Volume, plain, read

__all__ = ["About", "Converted", "Download", "Piece", "Plan", "Volume", "plain", "read", "run"]
