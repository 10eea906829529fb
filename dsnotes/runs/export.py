"""A report as text, CSV, LaTeX or a figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from dsnotes.metrics import Effect
from dsnotes.runs.source import RefusedError
from dsnotes.runs.tables import Cell, Report

LEVEL = 0.05  # corrected p-values below it get a star


def text(report: Report) -> str:
    """Two lines per row, paper and ours; three more where the starred row was tested against it: p-values, the interval
    of the difference over cases and seeds, and the smallest difference that the runs could have shown, with wins,
    draws and losses by case.
    """
    head = ["row", "", *report.columns]
    lines = []
    for row, printed in report.printed.items():
        star = " *" if row == report.starred else ""
        lines.append([row + star, "paper", *(_plain(printed.get(c)) for c in report.columns)])
        if row in report.ours:
            cells = [report.ours[row].get(c) for c in report.columns]
            lines.append(["", "ours", *map(_cell, cells)])
            if any(cell and cell.p_t is not None for cell in cells):
                lines.append(["", "p t/W", *(_p(cell) for cell in cells)])
            if any(cell and cell.effect for cell in cells):
                lines.append(["", "95 %", *(_interval(cell) for cell in cells)])
                lines.append(["", "shows", *(_smallest(cell) for cell in cells)])
    lines = [head, *lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    body = ["  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([f"{report.name}: {report.caption}", "", *body, "", *_remarks(report)])


def rows(report: Report) -> list[dict[str, Any]]:
    """One dict per row and column with everything known about it, for CSV and other programs."""
    return [
        {
            "table": report.name,
            "row": row,
            "starred": row == report.starred,
            "column": column,
            "printed": report.printed[row].get(column),
            "mean": cell.mean if cell else None,
            "std_cases": cell.over_cases if cell else None,
            "std_seeds": cell.over_seeds if cell else None,
            "cases": cell.cases if cell else 0,
            "seeds": cell.seeds if cell else 0,
            "difference": cell.difference if cell else None,
            "p_t_holm": cell.p_t if cell else None,
            "p_wilcoxon_holm": cell.p_w if cell else None,
            **_effect_columns(cell.effect if cell else None),
        }
        for row in report.printed
        for column in report.columns
        for cell in [report.ours.get(row, {}).get(column)]
    ]


def _effect_columns(found: Effect | None) -> dict[str, Any]:
    names = ("low", "high", "smallest", "cases_low", "cases_high", "wins", "draws", "losses")
    return {name: getattr(found, name) if found else None for name in names}


def _interval(cell: Cell | None) -> str:
    return f"{cell.effect.low:+.3g} to {cell.effect.high:+.3g}" if cell and cell.effect else ""


def _smallest(cell: Cell | None) -> str:
    if not (cell and cell.effect):
        return ""
    found = cell.effect
    return f"{found.smallest:.2g} or more; {found.wins}/{found.draws}/{found.losses}"


def as_csv(report: Report) -> str:
    out = io.StringIO()
    table = rows(report)
    writer = csv.DictWriter(out, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def latex(report: Report) -> str:
    """A booktabs table; a star where both corrected tests are below 0.05."""
    lines = [
        r"\begin{tabular}{ll" + "l" * len(report.columns) + "}",
        r"\toprule",
        " & ".join(["", "", *map(_escaped, report.columns)]) + r" \\",
        r"\midrule",
    ]
    for row, printed in report.printed.items():
        name = _escaped(row) + (r"$^\dagger$" if row == report.starred else "")
        lines.append(" & ".join([name, "paper", *(_escaped(_plain(printed.get(c))) for c in report.columns)]) + r" \\")
        if row in report.ours:
            cells = (report.ours[row].get(c) for c in report.columns)
            lines.append(" & ".join(["", "ours", *map(_latex_cell, cells)]) + r" \\")
    remarks = [f"% {line}" for line in _remarks(report)]
    return "\n".join([*remarks, *lines, r"\bottomrule", r"\end{tabular}", ""])


def figure(report: Report) -> Any:
    """One panel per column: the paper as an open square, ours as a dot with the standard deviation over the cases."""
    from dsnotes.viewers import notebook_display, style

    names = [row for row in report.printed if report.printed[row] or row in report.ours]
    columns = [c for c in report.columns if any(isinstance(p.get(c), (int, float)) for p in report.printed.values())]
    with style.look():
        sheet = style.sheet(1.6 + 2.1 * len(columns), 1.1 + 0.34 * len(names))
        panels = sheet.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            for at, row in enumerate(names):
                cell, printed = report.ours.get(row, {}).get(column), report.printed[row].get(column)
                if isinstance(printed, (int, float)):
                    axes.plot(printed, at - 0.13, "s", mfc="none", color=style.ON_BACKGROUND[0], markersize=6)
                if cell:
                    axes.errorbar(
                        cell.mean, at + 0.13, xerr=cell.over_cases, fmt="o", color=style.ON_BACKGROUND[1], capsize=3
                    )
            axes.set_title(column, loc="left")
            axes.grid(axis="x")
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(range(len(names)), [n + (" *" if n == report.starred else "") for n in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        panels[-1].plot([], [], "s", mfc="none", color=style.ON_BACKGROUND[0], label="paper")
        panels[-1].plot([], [], "o", color=style.ON_BACKGROUND[1], label="ours, ± cases")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = [f"{row} {column}: paper {_plain(report.printed[row].get(column))}, ours "
            f"{_cell(report.ours.get(row, {}).get(column))}" for row in names for column in columns]  # fmt: skip
    return notebook_display.Picture(sheet, alt=f"{report.name}: {'; '.join(told)}")


def save(report: Report, file: Path) -> None:
    """Write the report in the format of the file's suffix: .txt, .csv, .tex, .png, .svg or .pdf."""
    writers = {".txt": text, ".csv": as_csv, ".tex": latex}
    if file.suffix not in (*writers, ".png", ".svg", ".pdf"):
        raise RefusedError(f"--output {file}: the suffix must be .txt, .csv, .tex, .png, .svg or .pdf")
    try:
        if file.suffix in writers:
            file.write_text(writers[file.suffix](report) + "\n", encoding="utf-8")
        else:
            figure(report).figure.savefig(file, bbox_inches="tight")
    except OSError as error:
        raise RefusedError(
            f"{file} could not be written ({error.strerror}); free space, or name another file"
        ) from error


def _remarks(report: Report) -> list[str]:
    ours = f"ours: {report.runs} runs on {report.dataset}" if report.runs else "ours: no run yet"
    legend = "mean ± over cases (± over seeds); p of the paired t-test / Wilcoxon against the row marked *, after Holm"
    counts = sorted({cell.cases for cells in report.ours.values() for cell in cells.values() if cell.cases})
    cases = f", {' to '.join(map(str, sorted({counts[0], counts[-1]})))} cases" if counts else ""
    return [
        ours + cases,
        *([legend] if report.runs else []),
        *(f"note: {line}" for line in report.notes),
        *(f"missing: {line}" for line in report.missing),
        *(f"error in the paper: {line}" for line in report.slips),
    ]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(x: float) -> str:
    return f"{x:.3f}" if abs(x) < 10 else f"{x:.2f}" if abs(x) < 1000 else f"{x:.0f}"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    cases = f" ± {_short(cell.over_cases)}" if cell.over_cases is not None else ""
    seeds = f" (± {_short(cell.over_seeds)})" if cell.over_seeds is not None else ""
    return _short(cell.mean) + cases + seeds


def _p(cell: Cell | None) -> str:
    if cell is None or cell.p_t is None or cell.p_w is None:
        return ""
    return f"{cell.p_t:.2g} / {cell.p_w:.2g}"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    star = "$^*$" if cell.p_t is not None and cell.p_w is not None and max(cell.p_t, cell.p_w) < LEVEL else ""
    cases = rf" $\pm$ {_short(cell.over_cases)}" if cell.over_cases is not None else ""
    return _short(cell.mean) + cases + star


def _escaped(words: str) -> str:
    spelt = {sign: f"\\{sign}" for sign in "_%&#${}"}
    spelt |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    return "".join(spelt.get(letter, letter) for letter in words)
