"""Training on a GPU: correctness, speed, memory, several processes. One script, at most ten minutes on one card.

    python benchmarks/gpu.py [--quick]           # writes benchmarks/gpu-<device>.md
    python benchmarks/gpu.py --device cpu        # tiny sizes, to show that it runs

Every measurement runs in its own process, so that one that runs out of memory, does not compile or takes too long
becomes a row that says so; the file is rewritten after every row. Measurements that did not fit into the time are rows
too.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from gpu_correct import AUGMENTED, ONE_STEP, RESUMED, SAME_END
from gpu_many import MANY, SWEEP
from gpu_peer import PEER
from gpu_speed import FAST, WAITING
from gpu_systems import OWN, SUBJECTS, Scale
from gpu_worker import Job, Worker
from timing import table

import dsnotes

HERE = Path(__file__).parent
MINUTES = {False: 9.0, True: 3.0}  # by --quick


@dataclass(frozen=True)
class Section:
    """`share` of the minutes; unused time goes to the later sections."""

    title: str
    says: str
    columns: list[str]
    jobs: list[Job]
    share: float


def sections(device: str, scale: Scale) -> list[Section]:
    given = {"device": device, "scale": scale}
    every = ["mu", "mss", "dsnet"] if scale.tiny else [key for key in OWN if key != "gradnorm"]
    fast = ["mu", "mss"] if scale.tiny else ["mss", "msds", "mu", "dsnet16"] if scale.quick else list(SUBJECTS)

    def each(keys: list[str], call: str, **more) -> list[Job]:
        return [Job(SUBJECTS[key].label, call, {"key": key, **given, **more}) for key in keys]

    return [
        Section(
            "Correct: one step", "Relative errors of a small system's step against a CPU in float64.",
            ONE_STEP, each(every if scale.tiny else list(OWN), "gpu_correct:one_step"), 1.0,
        ),
        Section(
            "Correct: augmentation", "Everything on, the same drawn parameters, on a CPU in float64 and here.",
            AUGMENTED, [Job(f"{n}-D", "gpu_correct:augmented", {"dims": n, **given}) for n in (2, 3)], 0.2,
        ),
        Section(
            "Correct: a run resumed", "Two epochs and two more against four, `deterministic=True`, augmented.",
            RESUMED, each(every, "gpu_correct:resumed"), 0.7,
        ),
        Section(
            "Fast: what the card gives", "A product of two matrices in bfloat16.",
            ["card", "product", "TFLOP/s", "data sheet", "share"],
            [Job("product", "gpu_speed:product_tflops", given)], 0.1,
        ),
        Section(
            "Fast: a step", "Forward, backward, optimiser, at the paper's width, patch and batch. TFLOP/s from the "
            "operations of a plain step, twice its multiply-adds; the loss after three steps, so that a way which "
            "computes something else shows.",
            FAST, each(fast, "gpu_speed:ways", compiled=False), 2.5,
        ),
        Section(
            "Fast: who waits", "`dsnotes.fit` over patches drawn afresh, without and with augmentation, against a step "
            "alone. Data: the share of `fit`'s time that is not the step. Aim: below 5 %.",
            WAITING, each([key for key in fast if key != "gradnorm"], "gpu_speed:waiting"), 1.5,
        ),
        Section(
            "Fast: against a peer", "The same network, loss and batch. Aim: not slower.",
            PEER, each([key for key in fast if key in ("mss", "msds")], "gpu_peer:against_peer"), 0.6,
        ),
        Section(
            "Many", "Gradients of several processes against one with all of their samples, in float32, of losses that "
            "are means over samples; then their pace at the paper's sizes.",
            MANY, each(["msds", "gradnorm", "dsnet"][scale.quick or scale.tiny :], "gpu_many:together"), 0.8,
        ),
        Section("Many: a sweep", "One run a GPU.", SWEEP, [Job("sweep", "gpu_many:sweep")], 0.1),
        Section(
            "Correct: two hundred steps", "On phantoms, in both precisions, over three seeds.",
            SAME_END, each(every, "gpu_correct:same_end"), 2.5,
        ),
        Section(
            "Fast: compiled", "As above; the first step compiles, which is not counted.",
            FAST, each(list(reversed(fast)), "gpu_speed:ways", compiled=True), 2.5,
        ),
    ]  # fmt: skip


def heading(device: str, scale: Scale, command: str) -> str:
    lines = ["## Training on a GPU", "", f"`{command}`, {datetime.date.today()}.", ""]
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        lines += [
            f"- {torch.cuda.device_count()} × {card.name}, {card.total_memory / 1e9:.0f} GB, compute capability "
            f"{card.major}.{card.minor}, {card.multi_processor_count} multiprocessors",
            f"- CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        ]
    else:
        lines += ["- **No GPU: sizes that show nothing but that everything runs.**", f"- {platform.machine()} CPU"]
    return "\n".join([
        *lines,
        f"- torch {torch.__version__}, Python {platform.python_version()}, dsnotes {dsnotes.__version__}"
        + (", quick" if scale.quick else ""),
    ])  # fmt: skip


def measure(found: list[Section], worker: Worker, minutes: float, write) -> None:
    """Row by row; a section's time is its share of what is left, a job's at most half of that until the last one."""
    ends = time.monotonic() + 60 * minutes
    text: list[str] = []
    for index, section in enumerate(found):
        left = max(ends - time.monotonic(), 0)
        until = time.monotonic() + left * section.share / sum(later.share for later in found[index:])
        rows: list[list] = []
        for place, job in enumerate(section.jobs):
            remaining = until - time.monotonic()
            last = place == len(section.jobs) - 1
            if remaining <= 0:
                some = [[job.about, "not run: the time was spent"]]
            else:
                some = worker.rows(job, remaining if last else max(remaining / 2, min(remaining, 20)))
            for row in some:
                rows.append([*row, *[""] * (len(section.columns) - len(row))])
                print(" | ".join(map(str, row)), flush=True)
                write([*text, section_text(section, rows)])
        text.append(section_text(section, rows))


def section_text(section: Section, rows: list[list]) -> str:
    return f"### {section.title}\n\n{section.says}\n\n{table(section.columns, rows)}"


def slug(device: str) -> str:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer systems, shorter stretches: three minutes")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, help="in all; 9, or 3 with --quick, and 60 on a CPU")
    parser.add_argument("--only", default="", help="sections whose title holds this word, such as Fast")
    parser.add_argument("--out", type=Path, help="another file than benchmarks/gpu-<device>.md")
    options = parser.parse_args(arguments)
    device = options.device if options.device != "cuda" else "cuda:0"
    scale = Scale(tiny=not device.startswith("cuda"), quick=options.quick)
    if scale.tiny:  # a compiler takes minutes where there is nothing to gain
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    out = options.out or HERE / f"gpu-{slug(device)}.md"
    asked = [section for section in sections(device, scale) if options.only.lower() in section.title.lower()]
    command = " ".join(["python benchmarks/gpu.py", *(sys.argv[1:] if arguments is None else arguments)])
    top = heading(device, scale, command)
    worker = Worker()
    try:
        minutes = options.minutes or (60.0 if scale.tiny else MINUTES[options.quick])
        measure(asked, worker, minutes, lambda text: out.write_text("\n\n".join([top, *text]) + "\n", encoding="utf-8"))
    finally:
        worker.stop()
    print(f"written to {out}")


if __name__ == "__main__":
    main()
