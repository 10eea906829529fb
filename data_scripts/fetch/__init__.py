"""The engine under the scripts: fetch, verify, convert to the one layout, check.

A script is a page of facts, a plan of pieces and a function that turns a piece into cases; everything else is here.
"""

from fetch.command import run
from fetch.download import Download
from fetch.facts import About, Converted
from fetch.pieces import Piece, Plan
from fetch.volume import Volume, plain, read

__all__ = ["About", "Converted", "Download", "Piece", "Plan", "Volume", "plain", "read", "run"]
