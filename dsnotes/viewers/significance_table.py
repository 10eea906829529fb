"""A table of systems that marks, by colour and sign, which differ significantly from a chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsnotes.viewers.table import Marked, Table


def significance_table(
    scores: Mapping[str, Mapping[str, Sequence | np.ndarray]], *, star: str, level: float = 0.05, caption: str = ""
) -> Table:
    """`{system: {figure: a value a case}}`, the same cases in the same order: mean ± SD over them, every row against
    `star` by a paired t-test, Holm-corrected within a column. ▲ and ▼ mark means that lie above and below the star's
    with p < level, ≈ those that do not differ; which of the two is good depends on the figure.
    """
    if star not in scores:
        raise ValueError(f"star={star!r} is not among the systems {list(scores)}: pass the name of one of them.")
    columns = list(scores[star])
    for system, row in scores.items():
        for column in columns:
            if len(row.get(column, ())) != len(scores[star][column]):
                raise ValueError(
                    f"{system!r} has {len(row.get(column, ()))} values of {column!r}, {star!r} has "
                    f"{len(scores[star][column])}: a paired test needs the same cases of both, in the same order."
                )
    others = [system for system in scores if system != star]
    verdicts = {column: _verdicts(scores, others, star, column, level) for column in columns}
    rows = []
    for system, row in scores.items():
        cells = {}
        for column in columns:
            values = np.asarray(row[column], float)
            text = f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")
            cells[column] = text if system == star else Marked(text, verdicts[column][system])
        rows.append({"system": f"{system} *" if system == star else system} | cells)
    cases = len(scores[star][columns[0]])
    note = f"{cases} cases; ▲ above, ▼ below the row with the star (p < {level:g}, paired t-test, Holm), ≈ neither."
    return Table(rows, caption=f"{caption} {note}".strip())


def _verdicts(scores: Mapping, others: list[str], star: str, column: str, level: float) -> dict[str, str]:
    """The verdict for each system; with a single case no test is possible and all are "even"."""
    from dsnotes.metrics.compare import holm, paired_t_test  # with SciPy and torch, which `dsnotes adopt` needs not

    if len(scores[star][column]) < 2:
        return dict.fromkeys(others, "even")
    tests = [paired_t_test(scores[system][column], scores[star][column]) for system in others]
    corrected = holm([test.p for test in tests]) if tests else []
    return {
        system: "even" if p >= level else "higher" if test.difference > 0 else "lower"
        for system, test, p in zip(others, tests, corrected, strict=True)
    }
