"""What an installed wheel must do on its own; `make dist` runs this in an empty environment outside the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dsnotes
from dsnotes.data import phantoms

if __name__ == "__main__":
    place = Path(dsnotes.__file__).resolve()
    assert "site-packages" in place.parts, f"this is {place}, not the installed wheel"
    cases = phantoms.nodules(3, seed=0)
    system = dsnotes.build("mu-net-hyb", width=2)
    dsnotes.fit(system, cases[:2], cases[2:], patch=(32, 32), batch=1, epochs=1, iterations=1, progress=False)
    label = dsnotes.to_label(dsnotes.predict(system, cases[2], patch=(32, 32)))
    assert set(dsnotes.score(label, cases[2].label, spacing=cases[2].spacing)) >= {"dice", "hausdorff"}
    listed = subprocess.run(
        [sys.executable, "-m", "dsnotes", "systems", "--names"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) >= len(dsnotes.systems())
    print(f"dsnotes {dsnotes.__version__} works from {place.parent}")
