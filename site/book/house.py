"""Draws the package's layers ("floors") from the code's imports: one row per layer, one box per file."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dsnotes.viewers import style


@dataclass(frozen=True)
class House:
    """`lines[floor][module]` are lines of code; `uses[upper, lower]` counts the imports of one layer from another."""

    floors: tuple[str, ...]  # lowest first
    lines: dict[str, dict[str, int]]
    uses: Counter

    @property
    def upwards(self) -> list[tuple[str, str]]:
        """Imports from a higher layer; a test of the library keeps this empty."""
        rank = {floor: at for at, floor in enumerate(self.floors)}
        return [(a, b) for a, b in self.uses if rank[b] > rank[a]]


def order(repository: Path) -> tuple[str, ...]:
    """The layers, lowest first, as tests/test_architecture.py checks every import against them."""
    tree = ast.parse((repository / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLOORS":
            return tuple(n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant))
    raise LookupError(
        "tests/test_architecture.py no longer defines FLOORS: read the order of the layers from its new place"
    )


def house(repository: Path) -> House:
    package = repository / "dsnotes"
    known = order(repository)
    lines: dict[str, dict[str, int]] = {}
    uses: Counter = Counter()
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("")
        floor = inside.parts[0]
        if floor not in known or floor == "__main__":
            continue
        text = path.read_text(encoding="utf-8")
        if inside.name != "__init__":
            lines.setdefault(floor, {})["/".join(inside.parts[1:]) or floor] = text.count("\n")
        uses.update((floor, other) for other in imported(text) if other in known and other != floor)
    return House(tuple(floor for floor in known if floor in lines), lines, uses)


def imported(text: str) -> list[str]:
    """The layer of every name that a file imports from the package, also inside functions."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a template
        return []
    found = []
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if names == ["dsnotes"]:
            names = [f"dsnotes.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [name.split(".")[1] for name in names if name.startswith("dsnotes.")]
    return found


def draw(of: House) -> tuple[str, bytes]:
    """The drawing's description and the drawing, a PNG."""
    from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

    floors, top = of.floors, len(of.floors)
    widest = max(sum(5 + n / 14 for n in of.lines[floor].values()) for floor in floors)
    with style.look():
        figure = style.sheet(11, 0.52 * top + 1.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.75, 1])
        left.add_patch(
            Polygon([(-0.03, top), (0.5, top + 1.5), (1.03, top)], facecolor=style.GRID, edgecolor=style.FAINT)
        )
        left.text(0.5, top + 0.45, "notebooks, labs, sweeps", ha="center", fontsize=9)
        for at, floor in enumerate(floors):
            left.add_patch(Rectangle((0, at), 1, 1, facecolor=style.BACKGROUND, edgecolor=style.FAINT, linewidth=0.8))
            left.text(-0.02, at + 0.5, floor, ha="right", va="center", fontsize=10)
            x = 0.012
            for name, n in of.lines[floor].items():
                wide = (5 + n / 14) / widest * 0.97
                left.add_patch(
                    FancyBboxPatch(
                        (x, at + 0.2), wide - 0.006, 0.6, boxstyle="round,pad=0,rounding_size=0.004",
                        facecolor=style.SKY if "baselines" not in name else style.YELLOW,
                        edgecolor=style.BLUE, linewidth=0.7,
                    )
                )  # fmt: skip
                x += wide
        left.set(xlim=(-0.2, 1.05), ylim=(-0.1, top + 1.6))
        left.set_title("one row per layer, one box per file, its width the file's length", loc="left")
        left.axis("off")
        for row, upper in enumerate(floors):
            for column, lower in enumerate(floors):
                if n := of.uses.get((upper, lower), 0):
                    right.scatter(
                        column, row, s=18 + 14 * n**0.75, color=style.BLUE if column < row else style.VERMILION
                    )
        right.plot([-0.5, top - 0.5], [-0.5, top - 0.5], color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        right.set_xticks(range(top), floors, rotation=90)
        right.set_yticks(range(top), floors)
        right.set(xlim=(-0.6, top - 0.4), ylim=(-0.6, top - 0.4), aspect="equal", ylabel="this floor …")
        right.set_xlabel("… imports from this one")
        right.set_title("every dot lies below the diagonal", loc="left")
        right.grid(alpha=0.6)
        right.set_axisbelow(True)
    return in_words(of), style.png(figure)


def in_words(of: House) -> str:
    said = []
    for floor in of.floors:
        below = [lower for lower in of.floors if of.uses.get((floor, lower))]
        files = len(of.lines[floor])
        said.append(f"{floor}, {files} file{'s' * (files != 1)}, imports from {', '.join(below) or 'none'}")
    return f"The package's {len(of.floors)} layers, lowest first: {'; '.join(said)}. No import points up."


def table(of: House) -> str:
    lines = ["| layer | files | lines | imports from |", "|:--|--:|--:|:--|"]
    for floor in reversed(of.floors):
        below = ", ".join(lower for lower in of.floors if of.uses.get((floor, lower))) or "–"
        lines.append(f"| `{floor}` | {len(of.lines[floor])} | {sum(of.lines[floor].values()):,} | {below} |")
    return "\n".join(lines)
