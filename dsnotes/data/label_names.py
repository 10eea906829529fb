"""Write label names and colours for viewers: ITK-SNAP's label description, 3D Slicer's colour table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Okabe and Ito's colours without black, distinguishable for colour-blind readers; they repeat after seven.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def colour(value: int) -> tuple[int, int, int]:
    return COLOURS[(value - 1) % len(COLOURS)]


def save_itksnap(path: Path, labels: Mapping[int, str]) -> Path:
    """Lines of IDX R G B A VIS MESH "name", to open in ITK-SNAP by Segmentation > Import Label Descriptions."""
    lines = ["# ITK-SNAP label description: value, red, green, blue, opacity, visible, mesh, name"]
    lines.append('    0     0    0    0        0  0  0    "Clear Label"')
    for value, name in labels.items():
        if value:
            red, green, blue = colour(value)
            quoted = name.replace('"', "'")
            lines.append(f'{value:5} {red:5} {green:4} {blue:4}        1  1  1    "{quoted}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save_slicer(path: Path, labels: Mapping[int, str]) -> Path:
    """Lines of value name R G B A, which Slicer loads with a labelmap; spaces in names become underscores."""
    lines = ["# 3D Slicer colour table: value, name, red, green, blue, opacity", "0 background 0 0 0 0"]
    for value, name in labels.items():
        if value:
            lines.append(f"{value} {'_'.join(name.split())} {' '.join(map(str, colour(value)))} 255")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
