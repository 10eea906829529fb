"""The patch classifiers of DSNet's Table 2 on a whole nodule: every patch by itself, and as we predict.

    python benchmarks/voxelwise.py [--write]

One slice of 64 x 64, 4096 voxels, at the published widths and patch sizes. By themselves, patches go through the
network as in training, many in a batch; some of them are timed and the total is extrapolated. For our prediction three
networks take the whole image; the others have their norms folded into convolutions and take few patches at a time, and
CF-CNN's patches share half of their first layers. Both ways must give the same logits. Multiply-adds are counted per
voxel: at the rate of the fastest convolution on this processor they give a lower bound of the seconds. Seconds are wall
clock, over all threads: run nothing else.

Then the cost of `every=2`, for networks that cannot share work: small ones are trained on phantoms and classify all,
every second and every fourth voxel of others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from timing import keep, machine, table
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.data import phantoms
from dsnotes.data.preprocess import Preprocess
from dsnotes.inference.predict import predict, to_label
from dsnotes.metrics import dice
from dsnotes.networks.baselines.cascaded_cnn import CascadedCNN
from dsnotes.networks.baselines.mc_cnn import MCCNN, RIM
from dsnotes.networks.baselines.mcroi_cnn import MCROICNN, three_channels
from dsnotes.networks.voxelwise import Dense, Patchwise, Voxelwise, mirrored_slices
from dsnotes.papers import build
from dsnotes.papers.baselines_voxelwise import VOLUMES
from dsnotes.training.fit import fit

NAMES = ("cf-cnn", "mc-cnn", "mv-dcnn", "mcroi-cnn", "cascaded-cnn", "db-resnet")
SIDE = 64
PATCHES = {  # their size, and how far the image is mirrored before and after
    MCCNN: (64 + 2 * RIM, 32 + RIM, 31 + RIM),
    MCROICNN: (52, 26, 25),
    CascadedCNN: (65, 32, 32),
}


def as_published(net: Dense, patches: Tensor) -> Tensor:
    """(N, K): a patch through strided poolings and undilated convolutions."""
    if isinstance(net, CascadedCNN):
        thought = net.first(patches).sigmoid()
        return net.second(torch.cat([patches[..., 16:-16, 16:-16], thought], dim=1)).flatten(1)
    x = patches
    for conv in (net.conv1, net.conv2):
        x = max_pool2d(conv2d(x, conv.weight, conv.bias).relu(), 2)
    x = conv2d(x, net.conv3.weight, net.conv3.bias).relu()
    if isinstance(net, MCROICNN):
        return net.output(conv2d(max_pool2d(x, 2), net.join.weight, net.join.bias).relu()).flatten(1)
    crops = [max_pool2d(x, 4), max_pool2d(x[..., 4:12, 4:12], 2), x[..., 6:10, 6:10]]
    return net.output(conv2d(torch.cat(crops, dim=1), net.join.weight, net.join.bias).relu()).flatten(1)


def by_itself(net: Voxelwise, image: Tensor, at: Tensor) -> Tensor:
    """The logits of the voxels `at`, (row, column), each from its own patch."""
    if not isinstance(net, Dense):
        voxel = torch.cat([torch.zeros_like(at), at], dim=1)
        return net.scores(image, voxel)["cross-entropy"]
    size, before, after = PATCHES[type(net)]
    seen = three_channels(image) if isinstance(net, MCROICNN) else image
    around = mirrored_slices(seen, before, after).unfold(2, size, 1).unfold(3, size, 1)[0]
    return as_published(net, around[:, at[:, 0], at[:, 1]].movedim(1, 0))


def multiply_adds(way: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops() // 2


def timed(way: Callable[[], object], rounds: int) -> tuple[object, float]:
    """Its answer, and the least seconds."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        answer = way()
        found.append(time.perf_counter() - started)
    return answer, min(found)


def reached(dtype: torch.dtype) -> float:
    """Operations in a second, of a 3x3 convolution that suits a processor: 64 maps of 16 patches."""
    x = torch.randn(16, 64, 35, 35, dtype=dtype).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(64, 64, 3, padding=1).to(dtype)
    return 2 * multiply_adds(partial(conv, x)) / timed(partial(conv, x), 20)[1]


def measure(name: str, voxels: int, rounds: int, best: float) -> list[str]:
    torch.manual_seed(0)
    net = build(name).network.backbone.eval()
    space = (SIDE, SIDE) if net.dims == 2 else (1, SIDE, SIDE)
    image = torch.randn(1, 1, *space)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    at = torch.cartesian_prod(torch.arange(0, SIDE, 8), torch.arange(SIDE))[:: SIDE * SIDE // 8 // voxels]
    alone, whole = partial(by_itself, net, image, at), partial(net, image)

    expected, first = timed(alone, rounds)
    answer, then = timed(whole, rounds)
    with torch.autocast("cpu", torch.bfloat16):
        _, rough = timed(whole, rounds)
    sparse = []
    if isinstance(net, Patchwise):
        net.every = 2
        sparse.append(timed(whole, rounds)[1])
        with torch.autocast("cpu", torch.bfloat16):
            sparse.append(timed(whole, rounds)[1])
    differ = (answer.logits.flatten(1, -3)[0, :, at[:, 0], at[:, 1]].T - expected).abs().max().item()
    if differ > 1e-5:
        raise SystemExit(f"{name} answers for the whole image otherwise than patch by patch, by {differ}")
    first *= SIDE**2 / len(at)
    counted = [multiply_adds(alone) / len(at), operations(name, space)]
    return [
        f"`{name}`",
        *(f"{n / 1e6:,.2f}" for n in counted),
        *(f"{seconds:.2f}" for seconds in (first, then, 2 * counted[1] * SIDE**2 / best, rough)),
        *([f"{seconds:.2f}" for seconds in sparse] or ["", ""]),
        f"{first / then:,.1f}",
        f"{differ:.0e}",
    ]


def operations(name: str, space: tuple[int, ...]) -> float:
    """Multiply-adds of a voxel of the whole image, which need not be computed to be counted."""
    with torch.device("meta"):
        net = build(name).network.backbone.eval()
    return multiply_adds(partial(net, torch.empty(1, 1, *space, device="meta"))) / SIDE**2


def skipping(name: str, steps: int) -> list[str]:
    """The mean Dice of six phantoms with every=1, 2 and 4, after learning from twelve others."""
    scaled = Preprocess(clip=(-1000.0, 400.0), normalise="image")
    cases = [scaled(case) for case in phantoms.nodules(18, dims=3, size=(8, 64, 64), spacing=(2.5, 0.7, 0.7))]
    torch.manual_seed(0)
    system = build(name, width=8)
    fit(system, cases[:12], epochs=1, iterations=steps, batch=2, progress=False, device="cpu")
    found = []
    for every in (1, 2, 4):
        system.network.backbone.every = every
        labels = [to_label(predict(system, case, device="cpu")) for case in cases[12:]]
        found.append(statistics.fmean(dice(a, case.label) for a, case in zip(labels, cases[12:], strict=True)))
    return [f"`{name}`", *(f"{score:.3f}" for score in found)]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", action="append", help="this one alone, or several of them")
    parser.add_argument("--voxels", type=int, default=128, help="that are timed by themselves, 512 at most")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150, help="of learning, for what every=2 costs")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, best = [], reached(torch.float32)
    for name in options.system or NAMES:
        rows.append(measure(name, options.voxels, options.rounds, best))
        print(*rows[-1], flush=True)
    with torch.inference_mode(False):
        skipped = [skipping(name, options.steps) for name in options.system or NAMES if name in VOLUMES]
    columns = [
        "system", "10⁶ multiply-adds a voxel, by itself", "as predicted", "s by themselves", "s as predicted",
        "s at the best rate", "s in bfloat16", "s with `every=2`", "both", "times as fast", "largest difference",
    ]  # fmt: skip
    text = "\n".join(
        [
            "## Classifiers of patches",
            "",
            f"`python benchmarks/voxelwise.py` on a {machine()}. A slice of {SIDE} × {SIDE} at the published widths "
            f"and patch sizes; {options.voxels} voxels by themselves, reckoned to {SIDE**2}; the least of "
            f"{options.rounds} rounds. At the best rate, {best / 1e9:,.0f} · 10⁹ operations a second, goes a float32 "
            f"convolution that suits a processor; in bfloat16 it is {reached(torch.bfloat16) / 1e9:,.0f} · 10⁹. With "
            f"`every=2` every other row and column is classified, and the logits between are interpolated.",
            "",
            table(columns, rows),
            "",
            f"What is lost by it: the mean Dice of six phantoms of nodules (8 × 64 × 64) after {options.steps} steps "
            f"of two on twelve others, at width 8. After so few most is still to be learned: a hint, no verdict.",
            "",
            table(["system", "`every=1`", "2", "4"], skipped),
        ]
    )
    print(text)
    if options.write:
        keep("voxelwise", text)


if __name__ == "__main__":
    main()
