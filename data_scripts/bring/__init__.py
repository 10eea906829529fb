"""The engine under the scripts: fetch, verify, convert to the one layout, check.

A script is a page of facts, a plan of pieces and a function that turns a piece into cases; everything else is here.
"""

from bring.command import run
from bring.download import Download
from bring.facts import About, Converted
from bring.pieces import Piece, Plan
from bring.volume import Volume, plain, read

__all__ = ["About", "Converted", "Download", "Piece", "Plan", "Volume", "plain", "read", "run"]
