"""The attacks of tests/hostile are a script too, so they are found the same way here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
