"""What the site says of papers, measurements, the house and the library is what the code says."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from book import house, layout, measured
from book.links import Links
from book.mathml import mathml
from book.papers import Paper, last_words, ours, printed, stems
from book.reference import documented, floor, floors, front_page, parsable, restructured

import dsnotes
from dsnotes.runs.paper_tables import published
from dsnotes.training.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STEMS = stems()


def test_every_paper_has_its_page():
    assert {"msds_unet", "dsms_unet", "mss_unet", "mu_net", "dsnet"} <= set(STEMS)
    rooms = [{p.stem for p in (ROOT / "dsnotes" / room).glob("*.py")} for room in ("papers", "networks")]
    assert set(STEMS) == rooms[0] & rooms[1] - {"__init__"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, str]:
    """Every paper's page, less the counting of parameters, which takes a second a paper."""
    results = measured.measurements(ROOT / "benchmarks" / "results")
    source = tmp_path_factory.mktemp("source")
    known = {f"notebooks/{p.name}": f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("book.papers.size", lambda name: (0, 0, ()))
        return {stem: Paper(stem, ROOT).page(results, Links(ROOT, source, dict(known))) for stem in STEMS}


def test_parameters_are_counted_at_the_papers_size():
    assert "| `drs-unet` | 40,101,314 | 2-D, 64 wide | dsms-1 |\n" in Paper("dsms_unet", ROOT).systems()


@pytest.mark.parametrize("stem", STEMS)
def test_a_papers_page_has_systems_settings_slips_and_every_printed_number(stem, written):
    page, module = written[stem], Paper(stem, ROOT).module
    for name in module.SYSTEMS:
        assert f"| `{name}` |" in page
    for number, table in module.TABLES.items():
        assert f"### Table {number}\n" in page
        plain = page.replace("\\", "")
        assert all(slip in plain for slip in table.slips)
        for row, values in table.rows.items():
            lines = re.findall(rf"^\| `?{re.escape(row)}`?(?: ★)? \|.*$", plain, flags=re.M)
            numbers = [str(v) for v in values if isinstance(v, float)]
            assert any(all(v in line for v in numbers) for line in lines), f"row {row} of table {number}"
    changed = [f for f in vars(Settings()) if getattr(module.SETTINGS, f) != getattr(Settings(), f)]
    assert [name for name in changed if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("stem", STEMS)
def test_a_papers_page_has_an_idea_and_a_described_figure(stem, written):
    if not (ROOT / "site" / "papers" / f"{stem}.md").exists():
        pytest.skip(f"nobody has written site/papers/{stem}.md yet")
    assert "## The idea" in written[stem]
    assert "$$" in written[stem]
    alt = re.search(r":alt: (.+)", written[stem])[1]
    assert len(alt) > 100
    assert "at every supervised place" in alt


def test_a_column_keeps_the_decimals_of_print():
    page = printed(published("mss-2").table, "mss-2", [])
    assert "| `mss-unet` ★ | 0.969 | 0.941 | 0.999 | 0.971 | 0.968 | 19.188 |" in page
    assert "| `classic-unet-3d` | 0.962 | 0.930 | 0.999 | 0.961 | 0.965 | 38.945 |" in page


def test_a_measurement_stands_beside_the_row_of_its_very_system():
    text = "## x\n\nPatients; on a CPU, 1 threads.\n\n| system | Dice a | mean ± SD of cases |\n|---|---|---|\n"
    rows = "| `msds-unet norm='instance'` | 0.6 | 0.681 ± 0.156 |\n| `msds-unet objective='none'` | 0.7 | 0.691 |\n"
    found = measured.rows(text + rows)
    assert [row.options for row in found] == [{"norm": "instance"}, {"objective": "none"}]
    result = measured.Measurement(ROOT, "x", "", "", tuple(found))
    assert ours(result, published("msds-3").fillers) == {"all": "0.681 ± 0.156", "none": "0.691"}
    assert ours(result, published("msds-1").fillers) == {
        "msds-unet": "0.681 ± 0.156",
        "res-unet-3d": "0.691",
    }


def test_every_committed_measurement_names_its_machine():
    for each in measured.measurements(ROOT / "benchmarks" / "results"):
        assert re.search("CPU|GPU|H200|core", each.machine), f"{each.path.name} does not say what it ran on"


def test_every_link_of_the_front_and_of_the_prose_leads_somewhere(tmp_path):
    book = layout.Book(ROOT, tmp_path)
    book.write_prose()  # each raises where one does not
    book.write_front()
    assert (tmp_path / "source" / "assets" / "overview.png").exists()


def test_the_list_of_papers_says_what_each_compares_with_what(tmp_path):
    book = layout.Book(ROOT, tmp_path)
    rows = [row.strip("| ").split(" | ") for row in book.overview().splitlines()[2:]]
    assert [len(row) for row in rows] == [3] * len(book.papers)
    assert {place[-1] for _, place, _ in rows} == {"."}
    assert "The output is compared with a *soft mask* from closed-form matting, and judged by a critic." in {
        place for _, place, _ in rows
    }


def test_the_house_is_the_codes_own():
    built = house.house(ROOT)
    assert built.upwards == []
    assert built.floors[0] == "shapes"
    assert set(built.lines["losses"]) == {p.stem for p in (ROOT / "dsnotes/losses").glob("*.py")} - {"__init__"}
    assert built.uses["networks", "shapes"] > 0
    assert "No import points up" in house.in_words(built)


def test_an_import_up_the_house_would_be_seen():
    text = "def f():\n    from dsnotes.papers import build\nimport dsnotes.data.case"
    assert sorted(house.imported(text)) == ["data", "papers"]
    uses = {("data", "papers"): 1}
    assert house.House(("data", "papers"), {}, uses).upwards == [("data", "papers")]


def test_every_public_name_is_in_the_library():
    names = floors(house.order(ROOT))
    assert {p.parent.name for p in (ROOT / "dsnotes").glob("*/__init__.py")} == set(names)
    front, losses = front_page(names), floor("losses")
    for name in dsnotes.__all__:
        assert f".. autofunction:: {getattr(dsnotes, name).__module__}.{name}\n" in front
    for name in dsnotes.losses.__all__:
        assert f".. autofunction:: dsnotes.losses.{name}\n" in losses
    for path in (ROOT / "dsnotes" / "losses").glob("[a-z]*.py"):
        assert f"\ndsnotes.losses.{path.stem}\n~" in losses


@pytest.mark.parametrize(
    ("docstring", "written"),
    [
        ("Of *space, |x| and y_ with `code`s.", [r"Of \*space, \|x\| and y\_ with ``code``\ s.", ""]),
        ("$\\frac12$ of it", [":math:`\\frac12` of it", ""]),
        ("See https://example.org/a_b.", ["See https://example.org/a_b.", ""]),
        ("As:\n\n    a = *b*", ["As:", "", "::", "", "    a = *b*", ""]),
        ("nearest     one\narea        two", ["::", "", "    nearest     one", "    area        two", ""]),
        ("- one\n  more\n- two", ["- one", "  more", "- two", ""]),
    ],
)
def test_a_docstring_is_read_as_it_was_meant(docstring, written):
    assert restructured(docstring.splitlines()) == written


def test_a_signature_with_nameless_defaults_is_code_again():
    raw = "(loss: ~abc.Callable = <function entropy>, step=<class 'dsnotes.step.PlainStep'>, a: dict = <factory>)"
    said = parsable(raw)
    ast.parse(f"def f{said}: ...")
    assert said == "(loss: ~abc.Callable = entropy, step=PlainStep, a: dict = ...)"


def test_a_class_without_words_is_not_taken_for_documented():
    from dataclasses import make_dataclass

    assert not documented(make_dataclass("Row", ["x"]))
    assert documented(Settings)


def fractions(tex: str) -> list[list[str]]:
    tree = ElementTree.fromstring(mathml(tex, block=False))
    return [
        ["".join(part.itertext()).strip() for part in at]
        for at in tree.iter("{http://www.w3.org/1998/Math/MathML}mfrac")
    ]


@pytest.mark.parametrize(
    ("tex", "parts"),
    [
        (r"\frac12 x", ["1", "2"]),
        (r"\tfrac1n", ["1", "n"]),
        (r"\frac{a}{b}", ["a", "b"]),
        (r"\frac\alpha2", ["α", "2"]),
    ],
)
def test_a_fraction_is_of_what_tex_takes_for_its_parts(tex, parts):
    assert fractions(tex) == [parts]


def test_a_mean_has_its_line_over_all_of_it():
    tree = ElementTree.fromstring(mathml(r"\overbrace{z} + \overline{|y - s|} + \overline{x}", block=True))
    lines = tree.findall("{*}mrow[@class='overline']")
    assert ["".join("".join(line.itertext()).split()) for line in lines] == ["|y−s|", "x"]
    assert "_" not in "".join(tree.itertext())


def formulae() -> set[str]:
    """Every formula of the notebooks, the papers' pages and the docstrings."""
    texts = [p.read_text(encoding="utf-8") for p in (ROOT / "site" / "papers").glob("*.md")]
    for path in [*(ROOT / "notebooks").rglob("*.py")]:
        lines = path.read_text(encoding="utf-8").splitlines()
        texts.append("\n".join(line[2:] if line.startswith("# ") else "" for line in lines))
    for path in (ROOT / "dsnotes").rglob("*.py"):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError:
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        texts += [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    texts = [re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S) for text in texts]
    return {f for text in texts for f in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", text, flags=re.S) for f in f if f}


def test_every_formula_can_be_set():
    found = formulae()
    assert len(found) > 60
    for formula in sorted(found):
        assert "alttext=" in mathml(formula, block=False)


def test_an_unknown_command_is_named():
    with pytest.raises(ValueError, match=r'"\\wobble".* in \$\\wobble x\$: write it in another way'):
        mathml(r"\wobble x", block=False)


def test_the_last_words_of_a_notebook_end_with_their_section():
    notebook = (
        "# %% [markdown]\n# ## What we saw, and what we did not\n#\n# - **Shown:** x\n#\n# ## Exercises\n#\n# 1. y\n"
    )
    assert last_words(notebook) == "- **Shown:** x"
    assert last_words("# %%\nx = 1\n") == ""


def test_the_checker_is_pinned_once():
    package = (ROOT / "site" / "package.json").read_text(encoding="utf-8")
    assert re.findall(r'"axe-core": "([^"]+)"', package) == [re.search(r"\d+\.\d+\.\d+", package)[0]]
    assert inspect.cleandoc(package)
