"""Published tables beside runs of ours, on results that are written by hand."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from scipy import stats

from dsnotes.papers import mss_unet
from dsnotes.papers.recipe import short
from dsnotes.runs.export import as_csv, figure, latex, save, text
from dsnotes.runs.paper_tables import published, tables
from dsnotes.runs.source import RefusedError
from dsnotes.runs.tables import compare

CASES = [f"case{i}" for i in range(6)]
A = np.array([0.90, 0.92, 0.95, 0.91, 0.93, 0.97])
B = np.array([0.85, 0.93, 0.90, 0.88, 0.90, 0.91])


def dices(values, key="dice_kidney", cases=CASES):
    return {case: {key: float(x)} for case, x in zip(cases, values, strict=True)}


def test_the_mean_is_over_cases_and_the_spreads_are_over_cases_and_seeds(result):
    result(dices(A), seed=0)
    runs = result(dices(A - 0.02), seed=1)
    cell = compare("mss-2", runs).ours["mss-unet"]["dice"]
    assert cell.mean == pytest.approx((A - 0.01).mean())
    assert cell.over_cases == pytest.approx((A - 0.01).std(ddof=1))
    assert cell.over_seeds == pytest.approx(np.std([A.mean(), A.mean() - 0.02], ddof=1))
    assert (cell.cases, cell.seeds) == (6, 2)


def test_folds_together_are_the_dataset(result):
    result(dices(A[:3], cases=CASES[:3]), fold=0)
    runs = result(dices(A[3:], cases=CASES[3:]), fold=1)
    assert compare("mss-2", runs).ours["mss-unet"]["dice"].mean == pytest.approx(A.mean())


def test_the_tests_are_scipys_on_the_cases_of_both_corrected_by_holm(result):
    others = {"unet-2d": B, "drs-unet": A - 0.001 * np.arange(6), "fcn": B - 0.1}
    result(dices(A, "dice"), system="dsmsc-unet")
    for system, values in others.items():
        runs = result(dices(values, "dice"), system=system)
    ours = compare("dsms-1", runs).ours
    for which, test in (("p_t", stats.ttest_rel), ("p_w", stats.wilcoxon)):
        raw = {row: test(A, x).pvalue for row, x in others.items()}
        corrected, floor = {}, 0.0
        for rank, row in enumerate(sorted(raw, key=raw.get)):
            floor = corrected[row] = max(floor, min(1, (len(raw) - rank) * raw[row]))
        for row in others:
            assert getattr(ours[row]["dice"], which) == pytest.approx(corrected[row])
    assert ours["dsmsc-unet"]["dice"].p_t is None
    assert ours["fcn"]["dice"].difference == pytest.approx((B - 0.1 - A).mean())


def test_what_is_missing_is_said(result):
    result(dices(A), seed=0, fold=0)
    result(dices([math.inf, *A[1:]], "hausdorff_kidney"), seed=1, fold=0)
    runs = result({}, system="classic-unet-3d", error="cell 4: ValueError: no luck")
    report = compare("mss-2", runs)
    told = "\n".join(report.missing)
    assert "classic-unet-3d: failed, cell 4: ValueError: no luck" in told
    assert "mss-unet, hausdorff_mm: 1 of 6 cases have no finite value" in told
    assert "mss-unet, recall: the runs recorded no 'sensitivity_kidney'" in told
    assert report.ours["mss-unet"]["hausdorff_mm"].mean == pytest.approx(A[1:].mean())
    runs = result(dices(A[:4], cases=CASES[:4]), system="classic-unet-3d", started="2027")
    told = "\n".join(compare("mss-2", runs).missing)
    assert "classic-unet-3d: no run for fold 0 seed 1" in told
    assert "classic-unet-3d: 4 of 6 cases" not in told
    assert "classic-unet-3d: 2 of 6 cases" in told


def test_rows_that_no_system_fills_are_said(result):
    report = compare("mss-5", result(dices(A)))
    (said,) = (line for line in report.missing if line.startswith("Xiaoshuai et al.: nothing here fills this row"))
    assert said.endswith("(published figures alone: no description of the network is at hand)")
    assert compare("mss-1", result({})).missing == ("mss-1: no system of dsnotes fills this table",)


def test_options_tell_rows_apart(result):
    result(dices(A, "dice"), system="msds-unet")
    runs = result(dices(B, "dice"), system="msds-unet", options={"objective": "hard"})
    ours = compare("msds-3", runs).ours
    assert set(ours) == {"all", "hard"}
    assert ours["hard"]["dice"].mean == pytest.approx(B.mean())
    assert set(compare("msds-4", runs).ours) == {"(1234)"}  # the same run


def test_f1_is_of_all_voxels_together(result):
    runs = result({"a": {"tp": 90, "fp": 10, "fn": 10}, "b": {"tp": 1, "fp": 0, "fn": 9}}, system="unet-2d")
    assert compare("msds-1", runs).ours["unet-2d"]["f1"].mean == pytest.approx(2 * 91 / (2 * 91 + 10 + 19))


def test_percents_stay_percents_and_deviations_are_over_cases(result):
    ours = compare("dsnet-2", result(dices(A, "dice"), system="dsnet")).ours["dsnet"]
    assert ours["dice"].mean == pytest.approx(100 * A.mean())
    assert ours["± dice"].mean == pytest.approx(100 * A.std(ddof=1))


def test_the_columns_are_those_of_the_runs_dataset(result):
    report = compare("mu-net-2", result(dices(A, "dice"), system="fcn", data="data/Task02_Heart"))
    assert report.columns == ("cardiac dice", "cardiac ppv", "cardiac sensitivity", "cardiac iou")
    assert report.printed["fcn"]["cardiac dice"] == 0.8835
    assert not any("compare differences" in note for note in report.notes)


def test_a_phantom_stands_beside_the_first_dataset_and_it_is_said(result):
    report = compare("mu-net-2", result(dices(A, "dice"), system="fcn", data="abdomen"))
    assert report.columns[0] == "brats dice"
    assert any("brats, ours: abdomen; compare differences" in note for note in report.notes)


def test_figures_of_a_run_are_averaged_over_runs(result):
    result(dices(A), system="v-net", about={"run": {"parameters (M)": 3.0}})
    runs = result(dices(A), system="msds-unet", about={"run": {"parameters (M)": 3.0, "seconds a case": 2.0}})
    assert compare("msds-13", runs).ours["msds-unet"]["seconds"].mean == 2.0


def test_thresholds_are_rows_of_one_run(result):
    case = {"dice@0.5": 0.6, "dice@0.6": 0.7, "false_positives@0.5": 3, "false_positives@0.6": 1}
    ours = compare("msds-12", result({"a": case, "b": case}, system="msds-unet")).ours
    assert (ours["0.6"]["mean dice"].mean, ours["0.6"]["false positives"].mean) == (pytest.approx(0.7), 2)


def test_of_equal_runs_the_newest_counts_and_a_failure_never_outdoes_a_result(result):
    result(dices(A), started="2026-01-01")
    result(dices(B), started="2026-01-02")
    runs = result({}, started="2026-01-03", error="no luck")
    assert compare("mss-2", runs).ours["mss-unet"]["dice"].mean == pytest.approx(B.mean())


def test_runs_that_are_not_alike_are_not_averaged(result):
    result(dices(A), scale=1.0)
    runs = result(dices(B), scale=2.0)
    with pytest.raises(RefusedError, match=r"scale \(1.0, 2.0\); choose with --filter"):
        compare("mss-2", runs)
    assert compare("mss-2", runs, where={"scale": "2.0"}).ours["mss-unet"]["dice"].mean == pytest.approx(B.mean())
    runs = result(dices(B), data="other")
    with pytest.raises(RefusedError, match=r"on 2 datasets \(other, phantoms\).*--filter data=other"):
        compare("mss-2", runs)


def test_a_row_under_two_recipes_becomes_two_rows_of_the_same_print(result):
    """As in sweeps/mss-5.yml: another paper's network under this paper's recipe and under its own."""
    result(dices(A, "dice_tumour"), recipe="mss")
    result(dices(B, "dice_tumour"), system="vb-net", recipe="own", patch=[48, 128, 128])
    runs = result(dices(B - 0.1, "dice_tumour"), system="vb-net", recipe="mss")
    report = compare("mss-5", runs)
    key = "tumour"
    assert report.ours["vb-net"][key].mean < report.ours["vb-net recipe=own"][key].mean, "the table's keeps the name"
    assert report.printed["vb-net recipe=own"] == report.printed["vb-net"]
    names = list(report.printed)
    assert names.index("vb-net recipe=own") == names.index("vb-net") + 1
    assert "vb-net recipe=own" in text(report)
    assert set(compare("mss-5", runs, where={"recipe": "mss"}).ours) == {"mss-unet", "vb-net"}
    runs = result(dices(B, "dice_tumour"), system="vb-net", recipe="own", patch=[32, 128, 128])
    with pytest.raises(RefusedError, match=r"'vb-net recipe=own' differ .*patch .*; choose with --filter patch="):
        compare("mss-5", runs)


def test_a_sweeps_own_runs_are_its_files(result):
    result(dices(A), scale=1.0)
    runs = result(dices(B), scale=2.0)
    last = max(runs.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    assert compare("mss-2", runs, only={last.absolute()}).ours["mss-unet"]["dice"].mean == pytest.approx(B.mean())


def test_what_cannot_be_found_is_refused_in_one_line(result, tmp_path):
    with pytest.raises(RefusedError, match="there is no folder .*nowhere; .*`dsnotes sweep"):
        compare("mss-2", tmp_path / "nowhere")
    with pytest.raises(RefusedError, match="no run in .* has a parameter 'sede'; the nearest are seed"):
        compare("mss-2", result(dices(A)), where={"sede": "1"})
    with pytest.raises(RefusedError, match="no table 'mu-net-22'; the nearest are mu-net-2"):
        compare("mu-net-22", tmp_path)


@pytest.fixture
def report(result):
    result(dices(A), seed=0)
    result(dices(A - 0.01), seed=1)
    return compare("mss-2", result(dices(B), system="classic-unet-3d"))


def test_text_has_print_and_ours_and_says_what_to_mind(report):
    lines = text(report).splitlines()
    assert lines[0] == "mss-2: Kidney, mean of 42 held-out KiTS19 patients."
    assert "mss-unet *" in text(report)
    assert "0.969" in text(report)
    assert f"{(A - 0.005).mean():.3f} ± {A.std(ddof=1):.3f} (± 0.007)" in text(report)
    assert "missing: classic-unet-3d: no run for fold 0 seed 1" in lines
    assert any(line.startswith("error in the paper: Accuracy ties") for line in lines)


def test_csv_holds_every_figure(report):
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert len(rows) == 2 * len(mss_unet.METRICS)
    (one,) = (r for r in rows if (r["row"], r["column"]) == ("classic-unet-3d", "dice"))
    assert float(one["printed"]) == 0.962
    assert float(one["mean"]) == pytest.approx(B.mean())
    assert float(one["p_t_holm"]) == pytest.approx(stats.ttest_rel(A - 0.005, B).pvalue)


def test_latex_is_a_table_with_escaped_names(report):
    told = latex(report)
    assert told.count(r"\\") == 1 + 2 * 2
    assert r"hausdorff\_mm" in told
    assert r"mss-unet$^\dagger$ & paper & 0.969" in told
    columns = {line.count(" & ") for line in told.splitlines() if line.endswith(r"\\")}
    assert columns == {1 + len(mss_unet.METRICS)}


def test_every_form_can_be_saved(report, tmp_path):
    for suffix in ("txt", "csv", "tex", "png", "svg", "pdf"):
        save(report, tmp_path / f"table.{suffix}")
        assert (tmp_path / f"table.{suffix}").stat().st_size > 100
    assert "classic-unet-3d dice: paper 0.962, ours 0.895" in figure(report).alt
    with pytest.raises(RefusedError, match=r"the suffix must be .txt, .csv, .tex"):
        save(report, tmp_path / "table.docx")
    with pytest.raises(RefusedError, match="could not be written"):
        save(report, tmp_path / "no" / "table.csv")


def test_the_tables_are_found_by_looking():
    assert {"msds-1", "dsms-1", "mss-2", "mu-net-2", "dsnet-1"} <= set(tables())
    assert [short(stem) for stem in ("mss_unet", "mu_net", "dsnet")] == ["mss", "mu-net", "dsnet"]
    for name in tables():
        paper = published(name)
        assert not paper.table.runs or set(paper.table.runs) & set(paper.table.rows), name
        assert {c.removeprefix("± ") for c in paper.table.metrics} <= set(paper.table.columns), name
        assert paper.table.starred is None or paper.table.starred in paper.table.rows, name


def test_latex_gets_no_sign_of_its_own_from_a_name():
    from dsnotes.runs.export import _escaped

    assert _escaped("a_b 5% {x}$ ± ~^") == r"a\_b 5\% \{x\}\$ $\pm$ \textasciitilde{}\textasciicircum{}"
    assert _escaped("\\") == r"\textbackslash{}"
