"""Crops the README's screenshots from those that the browser tests save.

make test && python assets/screenshots.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

KEPT = Path(__file__).resolve().parents[1] / "build" / "screenshots"
CUTS = {"volume": (300, 100, 1352, 968), "contact_sheet": (300, 100, 1100, 610)}  # left, upper, right, lower


def main() -> None:
    for name, box in CUTS.items():
        if not (KEPT / f"{name}.png").is_file():
            raise SystemExit(f"{KEPT / name}.png is missing: run `make test` first, on a machine with chromium.")
        picture = Image.open(KEPT / f"{name}.png").convert("RGB").crop(box)
        picture.quantize(192, dither=Image.Dither.NONE).save(Path(__file__).with_name(f"{name}.png"), optimize=True)


if __name__ == "__main__":
    main()
