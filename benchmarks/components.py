"""Post-processing of kidneys and tumours on 512×512×200: dsnotes against MONAI's KeepLargestConnectedComponent.

    python benchmarks/components.py [--write]

`keep_kidneys` applies the whole rule (the two largest kidneys, the tenth part, attached tumours, unknown values);
MONAI only keeps the largest components. It is timed with each of its possible settings.
Two label maps: a patient with specks near the kidneys, and a harder one with specks all over the volume.
All run alternately within each round; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dsnotes.inference import keep_kidneys, remove_small

SPACE = (200, 512, 512)
RESULTS = Path(__file__).parent / "results" / "components.md"


def patient(*, specks: int, everywhere: bool) -> np.ndarray:
    """Two ellipsoidal kidneys, a tumour in one of them, one apart, and specks of both values."""
    label = np.zeros(SPACE, np.uint8)
    draw_ellipsoid(label, (100, 300, 150), (40, 40, 35), 1)
    draw_ellipsoid(label, (95, 310, 360), (42, 42, 36), 1)
    draw_ellipsoid(label, (120, 330, 140), (15, 22, 22), 2)
    draw_ellipsoid(label, (60, 200, 250), (10, 12, 12), 2)
    rng = np.random.default_rng(0)
    low, high = ((5, 5, 5), (195, 507, 507)) if everywhere else ((50, 240, 110), (150, 360, 400))
    for _ in range(specks):
        draw_ellipsoid(label, rng.uniform(low, high), rng.uniform(1, 5, 3), rng.integers(1, 3))
    return label


def draw_ellipsoid(label: np.ndarray, centre, radii, value: int) -> None:
    box = tuple(slice(max(int(c - r), 0), int(c + r) + 1) for c, r in zip(centre, radii, strict=True))
    grid = np.ogrid[box]
    label[box][sum(((x - c) / r) ** 2 for x, c, r in zip(grid, centre, radii, strict=True)) <= 1] = value


def competitors() -> dict:
    from monai.transforms import KeepLargestConnectedComponent

    def monai(**settings):
        transform = KeepLargestConnectedComponent(applied_labels=[1, 2], **settings)
        return lambda label: np.asarray(transform(label[None]))[0]

    name = f"MONAI {version('monai')}"
    return {
        "dsnotes keep_kidneys": keep_kidneys,
        "dsnotes keep_kidneys(literal=True)": lambda label: keep_kidneys(label, literal=True),
        "dsnotes remove_small": remove_small,
        f"{name}, each label, 1 component (its defaults)": monai(),
        f"{name}, union of labels, 1 component": monai(independent=False),
        f"{name}, union of labels, 2 components": monai(independent=False, num_components=2),
    }


def compare(label: np.ndarray, rounds: int) -> list[tuple[str, float, float]]:
    """(name, median ms, median of the rounds' ratios to keep_kidneys)."""
    runs = competitors()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            given = label.copy()  # MONAI changes its input
            start = time.perf_counter()
            kept = run(given)
            if turn:  # the first is to warm up
                times[name].append(1e3 * (time.perf_counter() - start))
            elif not 0 < np.count_nonzero(kept) < np.count_nonzero(label):
                raise RuntimeError(f"{name} removed all or nothing")
    own = times["dsnotes keep_kidneys"]
    return [
        (name, statistics.median(t), statistics.median(a / b for a, b in zip(t, own, strict=True)))
        for name, t in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    options = parser.parse_args()
    lines = [
        "## Kidneys and their tumours cleaned up, 512×512×200",
        "",
        f"`python benchmarks/components.py` on one core of a {platform.machine()} CPU, numpy {np.__version__}, "
        f"cc3d {version('connected-components-3d')}, scikit-image {version('scikit-image')}, "
        f"{options.rounds} rounds.",
        "",
        "| specks | | ms | × keep_kidneys |",
        "|---|---|---|---|",
    ]
    for where, everywhere in (("40 about the kidneys", False), ("400 all over", True)):
        label = patient(specks=400 if everywhere else 40, everywhere=everywhere)
        for name, ms, ratio in compare(label, options.rounds):
            lines.append(f"| {where} | {name} | {ms:.0f} | {ratio:.2f} |")
    print(*lines, sep="\n")
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
