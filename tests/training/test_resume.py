"""A run that is stopped, in whatever way, goes on as if nothing had happened; and nothing wrong is gone on with."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dsnotes.supervision.plain import Plain
from dsnotes.training import checkpoints
from dsnotes.training.fit import fit
from dsnotes.training.history import History
from dsnotes.training.step import PlainStep

QUIET = {"progress": False, "device": "cpu", "amp": False}
HOW = {"batch": 2, "epochs": 4, "augment": True, "schedule": "plateau", "patience": 0, "threshold": 1.0}


def state(system) -> dict:
    return {name: value.clone() for name, value in system.network.state_dict().items()}


def assert_equal(a: dict, b: dict) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def without_times(history) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "samples_per_second")} for r in history]


@pytest.mark.parametrize(
    ("stop_after", "more"),
    [(1, {}), (1, {"reestimate": 2}), (2, {"optimiser": "sgd"}), (3, {}), (2, {"epoch": "slices", "patch": (8, 8)}),
     (1, {"epoch": "grid", "patch": (8, 8), "positive_only": True})],
)  # fmt: skip
def test_stopping_after_any_epoch_changes_no_bit(tiny, discs, tmp_path, stop_after, more):
    how = HOW | more
    straight = tiny(**how)
    whole = fit(straight, discs(6), discs(3, seed=1), **QUIET)

    first = tiny(**how)
    fit(first, discs(6), discs(3, seed=1), out=tmp_path, on_epoch=lambda h: len(h) == stop_after, **QUIET)
    again = tiny(seed=9, **how)  # other weights to begin with: the checkpoint's count
    history = fit(again, discs(6), discs(3, seed=1), out=tmp_path, **QUIET)

    assert_equal(state(again), state(straight))
    assert without_times(history) == without_times(whole)
    assert without_times(History.read(tmp_path / "history.jsonl")) == without_times(whole)
    assert len(set(history["lr"])) > 1, "the example must cut the rate"


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from conftest import make_discs, make_tiny
from dsnotes.supervision.plain import Plain
from dsnotes.training.fit import fit

class Deadly(Plain):
    calls = 0
    def run(self, network, batch):
        type(self).calls += network.training
        if self.calls == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(network, batch)

Deadly.__qualname__ = "Plain"  # the run that goes on has the objective without the kill
import torch
torch.set_num_threads({threads})
fit(make_tiny(Deadly(), **{how!r}), make_discs(6), out={out!r}, **{quiet!r})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize(("call", "finished"), [(2, 0), (9, 2)])
def test_kill_9_in_the_middle_of_an_epoch_changes_no_bit(tiny, discs, tmp_path, call, finished):
    script = KILLED.format(
        here=str(Path(__file__).parent),
        call=call,
        how=HOW,
        out=str(tmp_path),
        quiet=QUIET,
        threads=torch.get_num_threads(),
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(History.read(tmp_path / "history.jsonl")) == finished

    straight, resumed = tiny(**HOW), tiny(seed=9, **HOW)
    fit(straight, discs(6), **QUIET)
    history = fit(resumed, discs(6), out=tmp_path, **QUIET)
    assert len(history) == 4
    assert_equal(state(resumed), state(straight))


class Duel(PlainStep):
    """A second network with its own optimiser, as a critic has: each step moves it, and its mood moves the first."""

    def __init__(self, *given, **how):
        super().__init__(*given, **how)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.critic = torch.nn.Linear(1, 1)
        self.optimisers["critic"] = torch.optim.Adam(self.critic.parameters(), lr=0.1)

    def __call__(self, batch):
        self.optimisers["critic"].zero_grad()
        mood = self.critic(batch["image"].mean().reshape(1, 1)).square().sum()
        mood.backward()
        self.optimisers["critic"].step()
        return super().__call__(batch) | {"mood": mood.detach()}

    def backward(self, terms, share):
        with torch.no_grad():
            mood = self.critic(torch.ones(1, 1)).sigmoid().sum()
        super().backward({name: mood * term for name, term in terms.items()}, share)

    def state_dict(self):
        return self.critic.state_dict()

    def load_state_dict(self, state):
        self.critic.load_state_dict(state)


def test_a_step_with_a_network_and_an_optimiser_of_its_own_resumes_exactly(tiny, discs, tmp_path):
    straight, first, again = (replace(tiny(**HOW), make_step=Duel) for _ in range(3))
    whole = fit(straight, discs(6), **QUIET)
    fit(first, discs(6), out=tmp_path, on_epoch=lambda history: len(history) == 2, **QUIET)
    history = fit(again, discs(6), out=tmp_path, **QUIET)
    assert_equal(state(again), state(straight))
    assert without_times(history) == without_times(whole)
    assert "mood" in history[0]
    with pytest.raises(ValueError, match=r"step was '.*Duel', now '.*PlainStep'.*another out"):
        fit(tiny(**HOW), discs(6), out=tmp_path, **QUIET)


def test_a_finished_run_is_read_not_repeated(tiny, discs, tmp_path):
    first, again = tiny(**HOW), tiny(seed=9, **HOW)
    whole = fit(first, discs(6), out=tmp_path, **QUIET)
    assert fit(again, discs(6), out=tmp_path, **QUIET).records == whole.records
    assert_equal(state(again), state(first))


def test_a_run_may_be_made_longer_but_not_shorter(tiny, discs, tmp_path):
    straight, longer = tiny(**HOW), tiny(**HOW)
    fit(straight, discs(6), **QUIET)
    fit(longer, discs(6), out=tmp_path, epochs=2, **QUIET)
    fit(longer, discs(6), out=tmp_path, **QUIET)
    assert_equal(state(longer), state(straight))
    with pytest.raises(ValueError, match=r"holds 4 finished epochs, .*epochs=2\. Pass epochs=4 or more"):
        fit(longer, discs(6), out=tmp_path, epochs=2, **QUIET)


def test_poly_knows_its_end_from_the_start(tiny, discs, tmp_path):
    fit(tiny(schedule="poly", epochs=2), discs(4), out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"another run: epochs was 2, now 3\. .*\(epochs=2"):
        fit(tiny(schedule="poly", epochs=3), discs(4), out=tmp_path, **QUIET)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"lr": 0.5},
            r"lr was 0.01, now 0.5\. .*\(lr=0.01\); to start a new one, pass an",
        ),
        ({"batch": 4}, r"batch was 2, now 4"),
        ({"patch": (8, 8)}, r"patch was \[16, 16\], now \[8, 8\]"),
        ({"augment": True}, r"augment was False, now True"),
        ({"seed": 3}, r"seed was 0, now 3"),
        ({"amp": True}, r"amp was 'float32', now 'bfloat16'"),
    ],
)
def test_other_settings_are_refused_by_name(tiny, discs, tmp_path, change, told):
    fit(tiny(), discs(4), out=tmp_path, epochs=1, **QUIET)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=told):
        fit(tiny(), discs(4), out=tmp_path, **{**QUIET, **change})
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_other_data_are_refused(tiny, discs, tmp_path):
    fit(tiny(), discs(4), out=tmp_path, epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"training data\.cases was 4, now 5"):
        fit(tiny(), discs(5), out=tmp_path, **QUIET)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda case, at: replace(case, name=f"other {at}"), r"training data\.names differs"),
        (lambda case, at: replace(case, label=case.label[::-1].copy()), r"training data\.labels differs"),
        (lambda case, at: replace(case, spacing=(2.0, 2.0)), r"training data\.shapes differs"),
    ],
)
def test_as_many_other_cases_are_refused(tiny, discs, tmp_path, other, told):
    fit(tiny(), discs(4), out=tmp_path, epochs=1, **QUIET)
    with pytest.raises(ValueError, match=f"another run: {told}.*another out"):
        fit(tiny(), [other(case, at) for at, case in enumerate(discs(4))], out=tmp_path, **QUIET)


def test_another_objective_is_refused_by_its_field(tiny, discs, tmp_path):
    fit(tiny(Plain()), discs(4), out=tmp_path, epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"objective\.eps was .*, now 0\.5.*another out"):
        fit(tiny(Plain(eps=0.5)), discs(4), out=tmp_path, **QUIET)


def test_an_empty_out_is_refused(tiny, discs):
    with pytest.raises(ValueError, match=r"out='' is empty.*out=None"):
        fit(tiny(), discs(4), out="", **QUIET)


def test_a_second_training_in_the_same_folder_is_told_who_is_there(tiny, discs, tmp_path):
    """And takes nothing from the first, which ends as if it had been alone."""
    said = []

    def second(history) -> None:
        with pytest.raises(checkpoints.BusyError, match=rf"in use: process {os.getpid()} on .*another out") as refused:
            fit(tiny(**HOW), discs(6), out=tmp_path, **QUIET)
        said.append(refused)

    first, alone = tiny(**HOW), tiny(**HOW)
    fit(first, discs(6), out=tmp_path, on_epoch=second, **QUIET)
    fit(alone, discs(6), **QUIET)
    assert len(said) == 4
    assert_equal(state(first), state(alone))
    assert not (tmp_path / checkpoints.HOLDER).exists()


@pytest.mark.parametrize("name", ["checkpoint.pt", "best.pt"])
def test_a_flipped_byte_is_refused_wherever_it_is(tiny, discs, tmp_path, name):
    """Without the sum, torch takes most of them for weights."""
    system = tiny(**HOW)
    fit(system, discs(6), discs(3, seed=1), out=tmp_path, **QUIET)
    whole = (tmp_path / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 39).astype(int):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        (tmp_path / name).write_bytes(flipped)
        with pytest.raises(ValueError, match=f"{name} is damaged.*(mv .*checkpoint.previous.pt|Copy it again)"):
            checkpoints.load_weights(system.network, tmp_path / name)


def test_after_damage_the_epoch_before_is_there_and_is_gone_on_from(tiny, discs, tmp_path):
    straight, first, again = (tiny(**HOW) for _ in range(3))
    fit(straight, discs(6), **QUIET)
    fit(first, discs(6), out=tmp_path, on_epoch=lambda history: len(history) == 3, **QUIET)
    newest = tmp_path / "checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="checkpoint.pt is damaged.*mv .*checkpoint.previous.pt"):
        fit(again, discs(6), out=tmp_path, **QUIET)
    os.replace(tmp_path / "checkpoint.previous.pt", newest)
    assert len(checkpoints.load(tmp_path)["history"]) == 2
    fit(again, discs(6), out=tmp_path, **QUIET)
    assert_equal(state(again), state(straight))


def test_best_weights_are_a_plain_state_dict(tiny, discs, tmp_path):
    system = tiny()
    fit(system, discs(4), discs(2, seed=1), out=tmp_path, epochs=1, **QUIET)
    found = torch.load(tmp_path / "best.pt", weights_only=True)
    assert_equal(found, state(system))
    system.network.load_state_dict(found)


@pytest.mark.parametrize("key", checkpoints.KEYS)
def test_a_checkpoint_that_lacks_something_is_refused_by_name(tiny, discs, tmp_path, key):
    fit(tiny(), discs(4), out=tmp_path, epochs=1, **QUIET)
    content = {k: v for k, v in checkpoints.load(tmp_path).items() if k != key}
    checkpoints.write(tmp_path / "checkpoint.pt", lambda file: torch.save(content, file), kept=0, sealed=True)
    with pytest.raises(ValueError, match=f"(lacks {key}|holds no weights).*another out"):
        fit(tiny(), discs(4), out=tmp_path, **QUIET)


def test_another_network_is_refused_by_its_tensors(tiny, discs, tmp_path):
    fit(tiny(), discs(4), out=tmp_path, epochs=1, **QUIET)
    wider = tiny(norm="instance")
    with pytest.raises(
        ValueError, match=r"holds another network: 18 .*running_mean \(4,\) there, absent here.*another out"
    ):
        fit(wider, discs(4), out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"best.pt|checkpoint.pt holds another network"):
        checkpoints.load_weights(wider.network, tmp_path / "checkpoint.pt")


def test_best_weights_are_kept_and_load(tiny, discs, tmp_path):
    seen = {}
    system = tiny(epochs=5, lr=0.1)
    train, val = discs(6), discs(3, seed=1)
    history = fit(system, train, val, out=tmp_path, on_epoch=lambda h: seen.update({len(h): state(system)}), **QUIET)
    assert history.best["val_score"] == max(history["val_score"])
    fresh = tiny(seed=9)
    checkpoints.load_weights(fresh.network, tmp_path / "best.pt")
    assert_equal(state(fresh), seen[history.best_epoch])


def test_auto_precision_is_chosen_once_a_run_and_kept(tiny, discs, tmp_path, monkeypatch):
    monkeypatch.setattr("dsnotes.training.forward_pass.has_bfloat16", lambda device: True)
    monkeypatch.setattr("dsnotes.training.forward_pass.LARGE", 0)
    history = fit(tiny(epochs=1), discs(4), out=tmp_path, progress=False, device="cpu")
    assert history.notes[0].startswith("networks compute in bfloat16, losses in float32 (amp='auto'")
    monkeypatch.setattr("dsnotes.training.forward_pass.has_bfloat16", lambda device: False)
    again = fit(tiny(epochs=2), discs(4), out=tmp_path, progress=False, device="cpu")
    assert again.notes == history.notes
    assert json.loads((tmp_path / "settings.json").read_text())["amp"] == "bfloat16"


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tiny, discs, tmp_path):
    (tmp_path / "file").write_text("")

    class Untouched(Plain):
        def run(self, network, batch):
            raise AssertionError("training began")

    with pytest.raises(
        OSError,
        match=r"cannot write to out='.*file.*run' \(.*\).*out=None to save noth",
    ):
        fit(tiny(Untouched()), discs(4), out=str(tmp_path / "file" / "run"), **QUIET)


def test_a_full_disk_keeps_the_last_good_checkpoint_and_the_run_goes_on_later(tiny, discs, tmp_path):
    """The limit on the size of files makes the write itself fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource", reason="a limit on the size of files needs Unix")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(history) -> None:
        if len(history) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    try:
        with pytest.raises(OSError, match=r"cannot write .*The checkpoint after epoch 2 is intact: free some space"):
            fit(tiny(**HOW), discs(6), out=tmp_path, on_epoch=fill_the_disk, **QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("part-*"))
    assert len(checkpoints.load(tmp_path)["history"]) == 2
    straight, resumed = tiny(**HOW), tiny(**HOW)
    fit(straight, discs(6), **QUIET)
    fit(resumed, discs(6), out=tmp_path, **QUIET)
    assert_equal(state(resumed), state(straight))


def test_a_file_that_is_no_checkpoint_is_said(tiny, discs, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"damaged, or was not written by dsnotes.fit.*delete it to start over"):
        fit(tiny(), discs(4), out=tmp_path, **QUIET)
    checkpoints.write(tmp_path / "checkpoint.pt", lambda file: torch.save([1, 2], file), kept=0, sealed=True)
    with pytest.raises(ValueError, match="holds no weights: dsnotes.fit did not write it"):
        fit(tiny(), discs(4), out=tmp_path, **QUIET)


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")

    def killed(file) -> None:
        file.write(b"half of the new o")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.write(path, killed, kept=1)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
