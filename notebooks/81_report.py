# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A report: the paper's table beside ours
#
# This notebook collects a folder of runs of [80_experiment](80_experiment.ipynb) into a table beside the published one:
# means, two kinds of spread, two paired tests, and what is missing. You will see
#
# - that "mean ± std" can mean different things, and which one a claim needs;
# - why p-values are corrected, and for what;
# - how to compare with published results on other patients.
#
# In a terminal, `dsnotes sweep sweeps/mss-2-phantom.yml` and then `dsnotes table mss-2` do the same. Without a folder
# of runs this notebook first makes a small one: ten minutes on a CPU, with `smoke=True` one.

# %% tags=["parameters"]
table: str = "mss-2"  # a table of a paper: `dsnotes systems` names them
results: str = ""  # a folder of runs; empty: the small sweep below is run first
where: dict = {}  # only runs with these parameters, as strings, such as {"data": "kidneys"}
held_out: str = ""  # a dataset that no run was trained on, to score each row's folds as one model
seeds: int = 2  # of the small sweep
smoke: bool = False  # a minute: two runs of two steps

# %%
from pathlib import Path

import numpy as np

from dsnotes import runs
from dsnotes.metrics import effect
from dsnotes.runs.differences import differences
from dsnotes.runs.export import as_csv, figure, latex, rows, text
from dsnotes.runs.plan import open_plan
from dsnotes.runs.tables import compare
from dsnotes.runs.verdict import stored, verdict_rows
from dsnotes.viewers import Table, boxes
from dsnotes.viewers.forest_plot import forest_plot

if smoke:
    seeds = 1

# %% [markdown]
# ## 1. The runs
#
# The small sweep is the table's own on phantoms, from `sweeps/`, with fewer steps and seeds: one run for each row and
# each seed, all on the same fold. Its file says what the rows share, so that they differ only in what the paper
# compares. Each run has a folder named after its parameters, and finished runs are not repeated.

# %%
out = runs.path(results) if results else (runs.folder() or Path("runs")) / "report"
plan = open_plan(f"../sweeps/{table}-phantom.yml")
small = {"iterations": 25, "smoke": smoke}
if not results:
    for values in plan.runs:
        if values["seed"] < seeds:
            runs.run("80_experiment.py", values | small, out=out)

# %%
changed = differences(plan).items()
named = [{"row": row} | {what: own or "none" for what, (_, own) in those.items()} for row, those in changed]
Table(named, caption="What each row changes, compared with the first")

# %% [markdown]
# ## 2. The table
#
# **Before running:** the paper has 42 patients and one training of each system. Which spread can it not report?

# %%
report = compare(table, out, where=where)
print(text(report))

# %% [markdown]
# The spread over seeds. In our rows the first `±` is over the *patients*: how much they differ in difficulty. It does
# not show whether one system is better, because both systems are tested on the same patients. The `±` in brackets is
# over the *seeds*: how much a repeated training varies. A difference between two rows that is smaller than this spread
# shows nothing.
#
# ## 3. The same patients, twice
#
# So the test is *paired*: for each patient it takes the difference between the starred row and another row. The t-test
# tests whether the mean difference is zero, Wilcoxon's test whether the differences are symmetric about zero. Both
# p-values are corrected by Holm's method for the number of rows: without a real difference, one comparison in twenty is
# significant at the level of 0.05 by chance alone.

# %%
tested = [row for row in rows(report) if row["p_t_holm"] is not None]
Table(
    [
        {
            "row": t["row"],
            "column": t["column"],
            "difference from the starred row": t["difference"],
            "cases": t["cases"],
        }
        | {"p, t-test": t["p_t_holm"], "p, Wilcoxon": t["p_wilcoxon_holm"]}
        for t in tested
    ],
    caption=f"Against {report.starred}; p-values after Holm's correction",
)

# %%
assert all(0 <= t["p_t_holm"] <= 1 for t in tested)
assert all(cell.cases > 0 for cells in report.ours.values() for cell in cells.values())

# %% [markdown]
# ## 4. As a figure
#
# **Before looking:** the published numbers and ours come from different patients. What can be compared?

# %%
figure(report)

# %% [markdown]
# The ranking of the rows and the differences between them, but not their absolute values.
#
# These are the patients behind the means, all seeds together:

# %%
column = report.columns[0]
patients = {row: list(cells[column].values.values()) for row, cells in report.ours.items() if column in cells}
boxes({column: patients}, y=f"{column} of one patient")

# %% [markdown]
# ## 5. Folds as one model
#
# Five folds give five networks, and their averaged probabilities a sixth model: `dsnotes predict runs/…fold*`. It
# cannot be scored on the folds' own cases, since four of five networks were trained on each. That needs separate cases,
# `held_out`. **Before running:** when is an average of networks no better than one?

# %%
from dsnotes.runs.ensemble import gains

together = gains(table, out, held_out, where=where) if held_out else {}
for row, gain in together.items():
    print(f"{row}: {gain}")
Table(
    [{"row": row, **line} for row, gain in together.items() for line in gain.rows()] or [{"row": "no held_out given"}]
)

# %% [markdown]
# When all of them make the same errors.
#
# ## 6. How large must an effect be to be seen?
#
# More patients make the mean over patients steadier, but not the two trainings behind it. So the interval of a
# difference has two parts, the spread over cases and the spread over seeds, and the test counts both:
# `dsnotes.metrics.effect`. **Before running:** two systems are equally good, but each training moves its mean Dice by
# ± 0.02. How often does a paired t-test on 40 patients and one seed call one of them better?

# %%
rng = np.random.default_rng(0)


def trained(seeds, cases=40):
    """Scores of one of two equally good systems: seed -> patient -> Dice."""
    level = rng.normal(0.8, 0.02, seeds)
    return {s: {f"p{c}": level[s] + rng.normal(0, 0.02) for c in range(cases)} for s in range(seeds)}


alarms = {
    seeds: np.mean([effect(trained(seeds), trained(seeds), resamples=2).p < 0.05 for _ in range(100)])
    for seeds in (1, 3, 5)
}
Table([{"seeds": seeds, "called better, of 100": f"{100 * share:.0f}"} for seeds, share in alarms.items()])

# %%
assert alarms[1] > 0.4  # one seed: the test is about these two networks, and they do differ
assert max(alarms[3], alarms[5]) < 0.15  # as often as the level of 0.05 says, but for chance in 100 repetitions

# %% [markdown]
# Most of the time: the patients agree, because they all see the same two networks. With several seeds the error is the
# one that the level promises.
#
# The study in `sweeps/verdict-*.yml` is evaluated in this way. *could have shown* is the smallest difference that so
# many cases and seeds find in 80 of 100 repetitions; a row that could only have shown more than matters is *unknown*.

# %%
question = stored("multi-scale-cardiac")
Table(verdict_rows(question), caption=question.text)

# %%
forest_plot(question.titled_effects(), reference=question.first, title=question.text)

# %% [markdown]
# A point is one seed: the mean over all patients. The square and its bar are the mean over seeds with its 95 %
# interval.
#
# ## 7. Export

# %%
print(latex(report))
print(as_csv(report).splitlines()[0])

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** every number of the table with its spreads, tests and number of cases, and what is missing.
# - **Not shown:** that the paper is right or wrong. The small sweep above has few patients, narrow networks and a few
#   minutes; its p-values are about *this* small experiment. The sweeps in `sweeps/` repeat the paper's.
# - **Note:** a p-value over patients is about *these two trained networks*. A claim about the methods needs several
#   seeds.
#
# ## Exercises
#
# 1. Keep only one seed (`where={"seed": "0"}`). Which of the numbers change, and which p-values?
# 2. Read the p-values without Holm's correction. How many rows must a table have before you expect one of them to be
#    "significant" by chance?
