"""dsnotes.fit against a bare forward, backward, step loop; and bfloat16 against float32 on this CPU.

    python benchmarks/fit.py [--threads 1] [--write]

The bare loop gets its batches drawn beforehand and does nothing else: no history, no check for NaN. fit draws the same
batches as it runs, and after an epoch both must have bitwise identical weights. For fit the second epoch is timed, from
the end of the first to its own end. The two alternate within each round, and the ratio is the median of the rounds'
ratios, so that a busy machine slows both equally. The second ratio is of the processor time of all threads, which shows
work hidden by overlapping.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.forward_pass import ForwardPass
from dsnotes.training.settings import Settings
from dsnotes.training.step import make_optimiser
from dsnotes.training.system import System

RESULTS = Path(__file__).parent / "results" / "fit.md"


@dataclass(frozen=True)
class Setting:
    name: str
    dims: int
    width: int
    patch: tuple[int, ...]
    batch: int
    steps: int


SETTINGS = (
    Setting("2-D, width 16, 2 × 64²: a notebook's smoke run", 2, 16, (64, 64), 2, 30),
    Setting("2-D, width 32, 4 × 128²", 2, 32, (128, 128), 4, 6),
    Setting("3-D, width 16, 2 × 32³", 3, 16, (32, 32, 32), 2, 4),
)


def cases() -> list[Case]:
    return [replace(case, image=case.image / 200) for case in phantoms.lung(4, seed=0, size=(64, 128, 128))]


def system(setting: Setting) -> System:
    torch.manual_seed(0)
    network = supervise(UNet(dims=setting.dims, width=setting.width, depth=4), Plain())
    return System("u-net", network, Plain(), Settings(patch=setting.patch, batch=setting.batch))


def bare(system: System, drawn: list) -> tuple[float, float]:
    """Seconds on the clock and of the processor for a loop over ready batches."""
    network = system.network.train()
    optimiser = make_optimiser(network, system.settings)
    started = now()
    for batch in drawn:
        optimiser.zero_grad(set_to_none=True)
        loss = sum(loss_terms(system.objective, network, batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), system.settings.clip)
        optimiser.step()
    return since(started)


def second_epoch(system: System, data: list[Case], **options) -> tuple[float, float]:
    moments = []
    fit(
        system,
        data,
        epochs=2,
        amp=False,
        progress=False,
        device="cpu",
        on_epoch=lambda _: moments.append(now()),
        **options,
    )
    return tuple(b - a for a, b in zip(*moments, strict=True))


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> tuple[float, float]:
    return tuple(b - a for a, b in zip(started, now(), strict=True))


def compare(setting: Setting, data: list[Case], rounds: int) -> list[str]:
    """Rows of the table: milliseconds a step, and the ratios of fit to the bare loop."""
    base = system(setting)
    drawn = [drawing(base, data)(1, i)[0] for i in range(setting.steps)]
    check(base, data, drawn)
    with tempfile.TemporaryDirectory() as folder:
        folders = (Path(folder) / str(index) for index in count())
        ways = {
            "bare loop": lambda system: bare(system, drawn),
            "fit": lambda system: second_epoch(system, data, iterations=setting.steps),
            "fit, drawing on no thread": lambda system: second_epoch(system, data, iterations=setting.steps, workers=0),
            "fit, augmenting": lambda system: second_epoch(system, data, iterations=setting.steps, augment=True),
            "fit, a checkpoint an epoch": lambda system: second_epoch(
                system, data, iterations=setting.steps, out=next(folders)
            ),
        }
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds + 1):  # the first warms up
            for way, run in ways.items():
                taken[way].append(run(replace(base, network=copy.deepcopy(base.network))))
    rows = []
    for way, measured in taken.items():
        ms = statistics.median(clock for clock, _ in measured[1:]) / setting.steps * 1e3
        clock, processor = (
            statistics.median(
                ours[i] / theirs[i] for ours, theirs in zip(measured[1:], taken["bare loop"][1:], strict=True)
            )
            for i in (0, 1)
        )
        rows.append(f"| {setting.name} | {way} | {ms:.1f} | {clock:.3f} | {processor:.3f} |")
    started = time.perf_counter()
    for i in range(20):
        drawing(base, data)(1, i)
    return [*rows, f"| {setting.name} | drawing a batch, by itself | {(time.perf_counter() - started) * 50:.1f} | | |"]


def drawing(system: System, data: list[Case]) -> Draw:
    return Draw(data, system.settings, 2, None, 0, 0, torch.device("cpu"))


def check(base: System, data: list[Case], drawn: list) -> None:
    """fit and the bare loop must do the same work."""
    alone, fitted = (replace(base, network=copy.deepcopy(base.network)) for _ in range(2))
    bare(alone, drawn)
    fit(fitted, data, epochs=1, iterations=len(drawn), amp=False, progress=False, device="cpu")
    if not same(alone, fitted):
        raise RuntimeError("fit and the bare loop end with different weights: they did not do the same work")


def same(a: System, b: System) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def bfloat16(setting: Setting, data: list[Case], rounds: int) -> str:
    """A row: forward and backward in float32 and in bfloat16 with losses in float32."""
    base = system(setting)
    batch = drawing(base, data)(1, 0)[0]
    taken = {dtype: [] for dtype in (None, torch.bfloat16)}
    for _ in range(rounds):
        for dtype, seconds in taken.items():
            seconds.append(step_seconds(base, batch, dtype))
    exact, lowered = (statistics.median(seconds) * 1e3 for seconds in taken.values())
    ratio = statistics.median(a / b for a, b in zip(taken[None], taken[torch.bfloat16], strict=True))
    return f"| {setting.name} | {exact:.1f} | {lowered:.1f} | {ratio:.2f} |"


def step_seconds(base: System, batch: dict, dtype: torch.dtype | None) -> float:
    """The shorter of two forward and backward passes after one to warm up."""
    forward_pass = ForwardPass(base.network.train(), base.objective, amp=dtype)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        _, terms = forward_pass(batch)
        torch.autograd.grad(sum(terms.values()), list(base.network.parameters()))
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def dice(seed: int) -> str:
    """A row: validation Dice of a small 3-D U-Net on kidney phantoms, the same run in both precisions."""
    train, val = ([binary(case) for case in phantoms.kidneys(n, seed=n, size=(16, 48, 48))] for n in (12, 6))
    scores = []
    for amp in (False, True):
        torch.manual_seed(seed)
        network = supervise(UNet(dims=3, width=8, depth=3, norm="instance"), Plain())
        settings = Settings(patch=(16, 48, 48), batch=2, lr=3e-3, schedule="poly", epochs=10, iterations=20)
        made = System("u-net", network, Plain(), settings)
        scores.append(fit(made, train, val, amp=amp, seed=seed, progress=False, device="cpu")[-1]["val_dice"])
    return f"| {seed} | {scores[0]:.3f} | {scores[1]:.3f} |"


def binary(case: Case) -> Case:
    return replace(case, image=case.image / 200, label=(case.label > 0).astype("uint8"))


def cpu() -> str:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    has = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags]
    return f"{platform.machine()} CPU ({', '.join(has) or 'instruction sets unknown'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="runs in each precision for the last table")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = cases()
    lines = []

    def tell(*more: str) -> None:
        lines.extend(more)
        print(*more, sep="\n", flush=True)

    tell(
        "## Training",
        "",
        f"`python benchmarks/fit.py` on a {cpu()}, {options.threads} thread(s), torch {torch.__version__}, "
        f"{options.rounds} rounds.",
        "",
        "| U-Net of depth 4 | | ms a step | × bare | × bare, processor time |",
        "|---|---|---|---|---|",
    )
    for setting in SETTINGS:
        tell(*compare(setting, data, options.rounds))
    tell("", "| forward and backward | float32 ms | bfloat16 ms | times faster |", "|---|---|---|---|")
    for setting in SETTINGS:
        tell(bfloat16(setting, data, options.rounds))
    tell("", "| seed | Dice, float32 | Dice, bfloat16 |", "|---|---|---|")
    for seed in range(options.seeds):
        tell(dice(seed))
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
