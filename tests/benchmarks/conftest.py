"""The benchmarks are scripts in a folder of their own: what they import from one another is found there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
