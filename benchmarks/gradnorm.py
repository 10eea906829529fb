"""What GradNorm costs: a step of MSDS-UNet-GM against the same step with fixed weights.

    python benchmarks/gradnorm.py [--write]

Both do the same forward and backward pass; GradNorm adds one backward pass per side, from its loss to the shared layer.
The last column takes these passes as one, vectorised over the sides (`is_grads_batched`). None of them can be derived
from the others: the step's own gradient also holds the soft fusion's, which belongs to no side.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns

from dsnotes.papers import build
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.step import PlainStep


class OnePass(GradNormStep):
    """All sides' gradients at the shared layer from one backward pass vectorised over the sides."""

    def backward(self, terms, share):
        own = torch.stack([share * sum(terms[name] for name in names) for names in self.tasks.values()])
        (pulls,) = torch.autograd.grad(own, self.shared, torch.eye(len(own)), is_grads_batched=True, retain_graph=True)
        self.pulls, self.losses = list(pulls), list(own.detach())
        PlainStep.backward(self, terms, share)


SETTINGS = (("2-D, width 16, 4 × 128²", 2, 16, (4, 128, 128)), ("3-D, width 8, 1 × 48³", 3, 8, (1, 48, 48, 48)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for title, dims, width, (n, *space) in SETTINGS:
        batch = {"image": torch.randn(n, 1, *space), "label": (torch.rand(n, *space) > 0.9).long()}
        ways = {}
        for name in ("fixed", "GradNorm", "one pass"):
            torch.manual_seed(0)
            system = build("msds-unet" if name == "fixed" else "msds-unet-gm", width=width, dims=dims)
            step = (OnePass if name == "one pass" else system.make_step)(system, system.settings)
            ways[name] = partial(step, batch)
        records = [ways[name]() for name in ("GradNorm", "one pass")]
        for name in (name for name in records[0] if name.startswith("pull")):
            torch.testing.assert_close(*(record[name] for record in records), rtol=1e-3, atol=0)
        seconds = take_turns(ways, options.rounds, clock=time.process_time)
        times = [f"{ratio(seconds[name], seconds['fixed']):.2f}" for name in ("GradNorm", "one pass")]
        rows.append([title, *(f"{median(each) * 1e3:.0f}" for each in seconds.values()), *times])
    text = "\n".join(
        [
            "## GradNorm",
            "",
            f"`python benchmarks/gradnorm.py` on a {machine()}, {options.rounds} rounds.",
            "",
            table(
                [
                    "step",
                    "fixed weights, ms",
                    "GradNorm, ms",
                    "one vectorised pass, ms",
                    "× GradNorm",
                    "× one vectorised",
                ],
                rows,
            ),
        ]
    )
    print(text)
    if options.write:
        keep("gradnorm", text)


if __name__ == "__main__":
    main()
