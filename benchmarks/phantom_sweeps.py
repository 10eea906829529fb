"""The papers' tables on phantoms, as their sweeps fill them; beside them what they held before rows shared a recipe.

    dsnotes sweep sweeps/mss-2-phantom.yml --out RUNS        # for each of them; resumable
    python benchmarks/phantom_sweeps.py RUNS sweeps/mss-2-phantom.yml sweeps/msds-1-phantom.yml … [--write]

With --write, tables of sweeps that are not named stay in the file. A row's Dice is the mean over the held-out phantoms,
once per seed. Where that of the whole foreground is below .05, the highest probability in any of them follows, and the
Dice of what is above .6 of that: a network can know the shape and give it less than .5 everywhere. (The last layer of a
network of width 4 has four weights. If no channel that is on in the object has a positive one, no probability passes
that of the bias. It starts anywhere and falls by about .4, because most voxels are background, and then is below one
half.)
`before` are means over seeds 0 and 1 on the same phantoms with fewer steps, when each row still had its own loss and
optimiser, and MSS U-Net's clean-up was every row's.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from timing import RESULTS, keep, machine, table

import dsnotes
from dsnotes.data.splits import k_fold
from dsnotes.metrics import dice
from dsnotes.runs.differences import labelled
from dsnotes.runs.experiment import cases_of
from dsnotes.runs.notebook import finished, folder_of
from dsnotes.runs.paper_tables import published
from dsnotes.runs.plan import Plan, open_plan
from dsnotes.runs.predict_command import load_run

BEFORE = {
    "mss-2": {"mss-unet": 0.683, "classic-unet-3d": 0.744},
    "msds-1": {"unet-2d": 0.005, "unet-3d": 0.007, "res-unet-3d": 0.079, "msds-unet": 0.178, "msds-unet-gm": 0.074},
    "dsms-1": {"unet-2d": 0.637, "drs-unet": 0.494, "fcn": 0.19, "kcmdrs-unet": 0.007, "dsmsc-unet": 0.004},
}
HEAD = ["row", "Dice ± over seeds", "each seed", "before", "seconds a run", "highest p: Dice above .6 of it"]
NOTES = (
    "A dash: no run yet. Last column, of runs that found nothing or almost nothing: the highest probability in the "
    "held-out phantoms, and their Dice with .6 of that as threshold."
)
NOTHING_FOUND = 0.05  # the Dice of a run that has found nothing, or almost nothing


def rows(plan: Plan, runs: Path) -> list[list[str]]:
    found = []
    for name, row in labelled(plan).items():
        figure = figure_of(plan, row.name)
        folders = [folder_of(plan.source, values, runs) for values in row.runs]
        done = {folder: run for folder in folders if (run := finished(folder)) is not None}
        each = [mean(run, figure) for run in done.values()]
        silent = [folder for folder, run in done.items() if mean(run, "dice") < NOTHING_FOUND]
        spread = f" ± {statistics.stdev(each):.3f}" if len(each) > 1 else ""
        before = BEFORE.get(plan.table or "", {}).get(row.name)
        found.append([
            f"`{name}`",
            f"{statistics.mean(each):.3f}{spread}" if each else "–",
            " ".join(f"{x:.3f}"[1:] if x < 1 else "1" for x in each) or "–",
            "–" if before is None else f"{before:.3f}",
            f"{statistics.mean(run['seconds'] for run in done.values()):.0f}" if done else "–",
            ", ".join(at_a_lower_threshold(folder, done[folder]["parameters"]) for folder in silent) or "–",
        ])  # fmt: skip
    return found


def figure_of(plan: Plan, row: str) -> str:
    """The Dice of the published table: of large tumours, of all slices, at a row's threshold."""
    if plan.table is None:
        return "dice"
    columns = published(plan.table).columns.values()
    keys = [column.key for column in columns if column.how == "mean" and column.key.startswith("dice")]
    return (keys or ["dice"])[0].format(row=row)


def mean(run: dict, figure: str) -> float:
    """Over the cases that have it: not every patient has a small tumour."""
    return statistics.mean(case[figure] for case in run["cases"].values() if figure in case)


def at_a_lower_threshold(folder: Path, values: dict) -> str:
    """The highest probability of a run's held-out phantoms, and their mean Dice with .6 of that as threshold."""
    system = load_run(str(folder))
    cases, _ = cases_of(values["data"], phantom_cases=values["phantom_cases"], size=values["phantom_size"])
    probability = []
    _, test = k_fold(cases, values["folds"], seed=0)[values["fold"]]
    for case in test:
        for prepare in system.task.preprocessing:
            case = prepare(case)
        p = dsnotes.predict(system, case, overlap=values["overlap"], device="cpu")
        probability.append((p[0] if len(p) == 1 else p[1:].max(0), case.label > 0))
    highest = max(float(p.max()) for p, _ in probability)
    found = statistics.mean(dice(p > 0.6 * highest, label) for p, label in probability)
    return f"{highest:.2f}: {found:.2f}"


def section(plan: Plan, runs: Path) -> list[str]:
    values = plan.runs[0]
    size = " x ".join(map(str, values["phantom_size"])) or "its own size"
    return [
        f"### {plan.path.stem}",
        "",
        f"{values['phantom_cases']} phantoms of {size}, a fifth of them held out; width {values['width']}, "
        f"{values['epochs']} x {values['iterations']} steps of {values['batch'] or 'the recipe'}, recipe "
        f"{', '.join(f'`{name}`' for name in dict.fromkeys(run['recipe'] for run in plan.runs))}.",
        f"The Dice is `{'`, `'.join(dict.fromkeys(figure_of(plan, row.name) for row in labelled(plan).values()))}`.",
        "",
        table(HEAD, rows(plan, runs)),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("sweeps", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true", help="keep the tables as results/phantom_sweeps.md")
    asked = parser.parse_args()
    made = {path.stem: section(open_plan(path), asked.runs) for path in asked.sweeps}
    print("\n".join(line for lines in made.values() for line in lines))
    if asked.write:
        head = [
            "## phantom_sweeps",
            "",
            f"`python benchmarks/phantom_sweeps.py RUNS sweeps/…-phantom.yml`, run on a {machine()}.",
        ]
        parts = sections_in_file() | {name: "\n".join(lines).rstrip() for name, lines in made.items()}
        keep("phantom_sweeps", "\n\n".join(["\n".join(head), NOTES, *parts.values()]))


def sections_in_file() -> dict[str, str]:
    """The tables already in results/phantom_sweeps.md, by the sweep's name."""
    file = RESULTS / "phantom_sweeps.md"
    _, *parts = file.read_text().split("### ") if file.exists() else [""]
    return {part.split("\n", 1)[0]: f"### {part.rstrip()}" for part in parts}


if __name__ == "__main__":
    main()
