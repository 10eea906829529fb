"""What a person types, and what comes back."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time

import pytest
import torch

from dsnotes.cli import COMMANDS, Parser, main, means
from dsnotes.runs import sweep as sweeping
from dsnotes.runs.terminal import Terminal, summary, table

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_is_done_once_and_its_means_are_shown(tiny, capsys):
    assert main(["run", str(tiny), "-p", "fold=1"]) == 0
    first = capsys.readouterr()
    assert "done in" in first.out
    assert "dice_kidney  0.94, mean of 3" in first.out
    assert "cell 1/" in first.err
    assert main(["run", "tiny.ipynb", "-p", "fold=1"]) == 0
    assert "was done before" in capsys.readouterr().out


def test_a_failed_run_shows_its_traceback_and_where_it_is_kept(tiny, capsys):
    assert main(["run", str(tiny), "-p", "fail=no luck"]) == 1
    said = capsys.readouterr().err
    assert "raise ValueError(fail)" in said
    assert said.splitlines()[-1].startswith("dsnotes run: cell 4: ValueError: no luck (kept in ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "tiny.py", "-p", "sede=1"], "has no parameter 'sede'; the nearest is seed: int = 0  # moves"),
        (["run", "tiny.py", "-p", "smoke=false"], "smoke=false is text, but smoke is bool"),
        (["run", "tiny.py", "-p", "seed"], "'seed' is not name=value; write for instance epochs=20"),
        (["run", "tiny.py", "--timeout", "-1"], "timeout=-1.0 must be a positive number; give seconds"),
        (["run", "tiny.py", "--timeout", "nan"], "timeout=nan must be a positive number; give seconds"),
        (["run", "tiny.py", "--timeout", "inf"], "timeout=inf must be a positive number; give seconds"),
        (["run", "julia.py"], "needs the kernel 'julia', which is not installed; `jupyter kernelspec list` shows"),
        (["sweep", "good.yml", "--scheduler", "foo://x"], "no scheduler found at foo://x (unknown address scheme"),
        (["run", "tinny.py"], "did you mean tiny.py?"),
        (["sweep", "some.yml"], "there is no key 'gird'; the nearest is 'grid'"),
        (["sweep", "good.yml", "--scheduler", "nowhere"], "no scheduler found at nowhere"),
        (["sweep", "good.yml", "--scheduler", "tcp://127.0.0.1:9"], "no scheduler found at tcp://127.0.0.1:9"),
        (["sweep", "good.yml", "--workers", "0"], "got 0; give 1 or more"),
        (["table", "mss-2"], "there is no folder runs"),
        (["systems", "--table", "mss-22"], "no system is a row of table 'mss-22'"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what dask leaves of an address that never answered
def test_what_cannot_be_is_one_line_and_exit_code_2(tiny, capsys, words, said, monkeypatch):
    tiny.with_name("some.yml").write_text("notebook: tiny.py\ngird: {}\n", encoding="utf-8")
    tiny.with_name("good.yml").write_text("notebook: tiny.py\n", encoding="utf-8")
    other = tiny.read_text(encoding="utf-8").replace("name: python3", "name: julia")
    tiny.with_name("julia.py").write_text(other, encoding="utf-8")
    monkeypatch.setattr("dsnotes.runs.cluster.PATIENCE", 0.5)
    assert main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith(f"dsnotes {words[0]}: ")
    assert len(told.err.strip().splitlines()) == 1


def test_an_unknown_name_is_refused_before_the_first_cell_and_leaves_nothing(tiny, capsys):
    """The kernel looks it up, so that this process need not import torch; `build` here is never reached."""
    code = tiny.read_text(encoding="utf-8").replace('print("waiting")', 'print("waiting")\nif fail:\n    build(system)')
    tiny.with_name("names.py").write_text(code, encoding="utf-8")
    assert main(["run", "names.py", "-p", "system=mss-unett"]) == 2
    assert "system=mss-unett: no system is called 'mss-unett'. The nearest are mss-unet" in capsys.readouterr().err
    assert main(["run", "names.py", "-p", "options={'norms': 1}"]) == 2
    assert "mss-unet has no option 'norms'" in capsys.readouterr().err
    assert not list(tiny.parent.glob("runs/names-*"))


def test_the_parameters_can_be_asked_for(tiny, capsys):
    assert main(["run", str(tiny), "--help-parameters"]) == 0
    assert "seed: int = 0  # moves every figure a little" in capsys.readouterr().out


def test_a_sweep_can_be_looked_at_before(tiny, capsys):
    """Rows, how many of their runs are done, and how they differ from the first: the seed is no difference."""
    text = "notebook: tiny.py\nrows: {plain: {}, slow: {wait: 3.0}, same: {scale: 2}}\ngrid: {seed: [0, 1]}\n"
    tiny.with_name("some.yml").write_text(text, encoding="utf-8")
    assert main(["sweep", "some.yml", "--dry-run", "-p", "scale=2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0 of 2 done  plain", "0 of 2 done  slow", "    wait 3.0, not 0.0", "0 of 2 done  same", "    as the first",
    ]  # fmt: skip


def test_a_table_is_printed_and_saved(result, capsys, tmp_path):
    result({f"case{i}": {"dice_kidney": 0.9 + 0.01 * i} for i in range(3)})
    assert main(["table", "mss-2", "--runs", "runs", "--output", "a.csv", "--output", "a.tex"]) == 0
    assert "0.910 ± 0.010" in capsys.readouterr().out
    assert (tmp_path / "a.csv").is_file()
    assert (tmp_path / "a.tex").is_file()


def test_a_sweeps_file_shows_the_published_table_with_its_own_runs_alone(tiny, capsys):
    tiny.with_name("half.yml").write_text(
        "notebook: tiny.py\ntable: mss-2\nparameters: {scale: 0.5}\n", encoding="utf-8"
    )
    for scale in ("0.5", "1.0"):
        assert main(["run", str(tiny), "-p", f"scale={scale}"]) == 0
    capsys.readouterr()
    assert main(["table", "mss-2"]) == 2, "the same row twice"
    assert "name the sweep's file for its runs alone" in capsys.readouterr().err
    assert main(["table", "half.yml"]) == 0
    said = capsys.readouterr().out
    assert "0.465" in said, "half of .90, .93 and .96"
    assert "ours: 1 runs on phantoms" in said


def test_the_old_names_of_options_still_work_and_say_the_new_ones(result, capsys, tmp_path):
    result({f"case{i}": {"dice_kidney": 0.9 + 0.01 * i} for i in range(3)})
    assert main(["table", "mss-2", "--where", "data=phantoms", "--to", "a.csv", "--output", "b.csv"]) in (0, 2)
    said = capsys.readouterr().err
    assert "--filter" in said
    assert "--output" in said


def test_the_systems_are_listed_with_their_size(capsys):
    assert main(["systems", "--table", "mss-2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["system", "classic-unet-3d", "mss-unet"]
    assert "29,641,000" in lines[2]
    assert "48 × 192 × 192" in lines[2]
    assert "mss_unet" in lines[2]
    assert main(["systems", "--names"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("msds-unet-gm") for line in lines)
    column = lines[0].index("tables")
    assert {line[column - 1] for line in lines[1:] if len(line) > column} == {" "}


def test_multiply_adds_are_counted_by_hand_for_one_convolution():
    """A 3×3 convolution of C to C' channels on N pixels takes 9 C C' N of them; the U-Net's first layer shows it."""
    from dsnotes.runs.size import size

    parameters, madds, space = size("unet-2d")
    assert space == (256, 256)
    widths = [64, 128, 256, 512, 1024]
    total, n = 0, 256 * 256
    before = 1
    for level, width in enumerate(widths):
        pixels = n // 4**level
        total += 9 * pixels * (before * width + width * width)
        before = width
    for level, width in reversed(list(enumerate(widths[:-1]))):
        pixels = n // 4**level
        total += pixels * 2 * width * width  # 2×2 transposed: one of four kernels reaches each pixel
        total += 9 * pixels * (2 * width * width + width * width)
    total += n * 64
    assert madds == total

    assert parameters == 31_042_369


def test_layers_are_counted_as_in_ronnebergers_figure():
    """Its U-Net has 23; ours of Table 13 has 33, and 45 with the sides', which the table's slip says."""
    import dsnotes
    from dsnotes.runs.paper_tables import published
    from dsnotes.runs.size import layers

    with torch.device("meta"):
        counted = [
            layers(dsnotes.build(name, **options).network)
            for name, options in (("unet-2d", {}), ("msds-unet", {"objective": "none"}), ("msds-unet", {}))
        ]
    assert counted == [23, 33, 45]
    assert published("msds-13").columns["layers"].key == "layers"


def commands() -> dict[tuple[str, ...], argparse.ArgumentParser]:
    """Every command by its words, those of `dsnotes labs` too."""
    top = Parser()
    subparsers = top.add_subparsers()
    for add in COMMANDS:
        add(subparsers)
    found = {(name,): one for name, one in subparsers.choices.items()}
    return found | {
        (*words, name): one for words, p in found.items() if p.commands for name, one in p.commands.choices.items()
    }


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_every_command_explains_itself_and_everything_it_takes(words, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main([*words, "--help"])
    assert " ".join(["usage: dsnotes", *words]) in capsys.readouterr().out
    for action in commands()[words]._actions if words else ():
        assert action.help or isinstance(action, argparse._SubParsersAction), f"{action.dest} has no help"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "dsnotes: no command is called 'rnu'; the nearest is: dsnotes run; for all of them: dsnotes --help"),
        (["labs", "bild"], "dsnotes labs: no command is called 'bild'; the nearest is: dsnotes labs build; for all"),
        (["xyzzy"], "dsnotes: no command is called 'xyzzy'; for all of them: dsnotes --help"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(words, said, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(words)
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", [[], ["labs"]])
def test_no_command_is_answered_with_the_list_of_them(words, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(words)
    assert "commands:" in capsys.readouterr().err


def test_a_sweep_without_dask_is_answered_with_the_command_that_installs_it(tiny, capsys, monkeypatch):
    tiny.with_name("good.yml").write_text("notebook: tiny.py\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["sweep", "good.yml"]) == 2
    assert capsys.readouterr().err.endswith('a sweep needs dask; type: pip install -c constraints.txt -e ".[sweep]"\n')


def test_means_say_in_how_many_cases_there_is_none():
    assert means({"a": {"d": 1.0}, "b": {"d": "inf"}}) == {"d": "1, mean of 1 (1 cases have no value)"}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_and_a_log_is_not(tmp_path):
    def task(state, **values):
        return sweeping.Task({"seed": 0, "system": "a"} | values, tmp_path / f"run{values}", state)

    state = sweeping.Sweep([task("done"), task("running", seed=1), task("failed", seed=2), task("waiting", seed=3)])
    (tmp_path / "run{'seed': 1}").mkdir()
    (tmp_path / "run{'seed': 1}" / sweeping.PROGRESS).write_text("cell 3/9  epoch 2", encoding="utf-8")
    assert "2/4 over, 1 failed, 1 running, 1 waiting" in summary(state)
    assert table(state)[1] == "  seed=1  cell 3/9  epoch 2"
    screen = Screen()
    shown = Terminal(screen)
    shown.sweep(state)
    shown.sweep(state)
    assert "\x1b[3F" in screen.getvalue()
    log = io.StringIO()
    plain = Terminal(log)
    plain.sweep(state)
    plain.sweep(state)
    plain.close()
    assert len(log.getvalue().splitlines()) == 2  # the done and the failed, once
    assert "\x1b" not in log.getvalue()
    plain.line("first")
    plain.line("at once")
    assert "first" in log.getvalue()
    assert "at once" not in log.getvalue()
    plain.last = time.monotonic() - 60
    plain.line("later")
    assert "later" in log.getvalue()


@pytest.mark.parametrize("words", [["table", "mss-2", "--run", "r"], ["labs", "grade", "--sec", "1"], ["--hel"]])
def test_the_beginning_of_an_option_is_not_taken_for_it(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise on Windows")
def test_a_reader_who_has_heard_enough_ends_it_quietly():
    told = subprocess.Popen(
        [sys.executable, "-m", "dsnotes", "systems", "--names"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told.stdout.close()  # before the first line: Python takes longer to start
    assert told.stderr.read() == ""
    told.stderr.close()
    assert told.wait() == 141
