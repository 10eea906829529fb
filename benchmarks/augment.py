"""Augmentation of a 96³ patch with everything on: dsnotes against MONAI and batchgeneratorsv2, on the CPU.

    python benchmarks/augment.py [--write]

Rotation, scaling, elastic deformation, gamma that keeps mean and spread, and mirroring, all with probability 1, on an
image and a label with one foreground class. All three interpolate linearly, batchgeneratorsv2 the label too (its
default), MONAI the label by nearest neighbour (the quicker choice). All run alternately within each round, and the
ratio is the median of the rounds' ratios, so that a busy machine slows all equally.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from importlib.metadata import version
from math import pi
from pathlib import Path

import torch

from dsnotes.data.augment import Augmentation, apply, draw

SIZE = 96
RESULTS = Path(__file__).parent / "results" / "augment.md"
Pair = tuple[torch.Tensor, torch.Tensor]


def patch() -> Pair:
    """A bright ball in noise: (1, 1, 96, 96, 96) and (1, 96, 96, 96)."""
    axis = torch.linspace(-1, 1, SIZE)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    label = ((x - 0.2) ** 2 + (y + 0.1) ** 2 + z**2 < 0.2).long()
    image = torch.randn(SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) + 2 * label
    return image[None, None], label[None]


def ours(image: torch.Tensor, label: torch.Tensor):
    settings = Augmentation(p_rotation=1, p_scale=1, p_elastic=1, p_gamma=1, p_mirror=1)
    generator = torch.Generator().manual_seed(0)

    def run() -> Pair:
        drawn = draw(settings, batch=1, space=image.shape[2:], generator=generator)
        return apply(drawn, image, label)[:2]

    return run


def monai(image: torch.Tensor, label: torch.Tensor):
    from monai.transforms import Compose, Rand3DElasticd, RandAdjustContrastd, RandFlipd

    keys, turn = ["image", "label"], 15 / 180 * pi
    transform = Compose(
        [
            Rand3DElasticd(
                keys,
                sigma_range=(9, 13),
                magnitude_range=(0, 900),
                prob=1,
                rotate_range=(turn, turn, turn),
                scale_range=(-0.15, 0.25),
                mode=["bilinear", "nearest"],
                padding_mode="border",
            ),
            RandAdjustContrastd(["image"], prob=1, gamma=(0.7, 1.5), retain_stats=True),
            *(RandFlipd(keys, prob=1, spatial_axis=axis) for axis in range(3)),
        ]
    ).set_random_state(seed=0)

    def run() -> Pair:
        done = transform({"image": image[0], "label": label})
        return done["image"], done["label"]

    return run


def monai_quickest(image: torch.Tensor, label: torch.Tensor):
    """MONAI without its elastic transform: an affine resampling, then one by a field up-sampled from 12³ points."""
    from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandFlipd, RandSmoothDeformd

    keys, turn, mode = ["image", "label"], 15 / 180 * pi, ["bilinear", "nearest"]
    transform = Compose(
        [
            RandAffined(
                keys,
                prob=1,
                rotate_range=(turn, turn, turn),
                scale_range=(-0.15, 0.25),
                mode=mode,
                padding_mode="border",
            ),
            RandSmoothDeformd(
                keys,
                spatial_size=(SIZE,) * 3,
                rand_size=(12, 12, 12),
                pad=2,
                prob=1,
                def_range=0.05,
                grid_mode=mode,
                grid_padding_mode="border",
            ),
            RandAdjustContrastd(["image"], prob=1, gamma=(0.7, 1.5), retain_stats=True),
            *(RandFlipd(keys, prob=1, spatial_axis=axis) for axis in range(3)),
        ]
    ).set_random_state(seed=0)

    def run() -> Pair:
        done = transform({"image": image[0], "label": label})
        return done["image"], done["label"]

    return run


def batchgeneratorsv2(image: torch.Tensor, label: torch.Tensor):
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    turn = 15 / 180 * pi
    transform = ComposeTransforms(
        [
            SpatialTransform(
                (SIZE,) * 3,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_elastic_deform=1,
                elastic_deform_scale=(9 / SIZE, 13 / SIZE),
                elastic_deform_magnitude=(0, 8),
                p_synchronize_def_scale_across_axes=1,
                p_rotation=1,
                rotation=(-turn, turn),
                p_scaling=1,
                scaling=(0.85, 1.25),
                p_synchronize_scaling_across_axes=1,
                padding_mode_image="border",
                border_mode_seg="border",
            ),
            GammaTransform((0.7, 1.5), p_invert_image=0, synchronize_channels=False, p_per_channel=1, p_retain_stats=1),
            MirrorTransform((0, 1, 2)),
        ]
    )

    def run() -> Pair:
        done = transform(image=image[0].clone(), segmentation=label.to(torch.int16))
        return done["image"], done["segmentation"]

    return run


def compare(threads: int, rounds: int) -> list[tuple[str, float, float]]:
    """(name, median ms, median of the rounds' ratios to ours)."""
    torch.set_num_threads(threads)
    image, label = patch()
    makers = {
        "dsnotes": ours,
        f"MONAI {version('monai')}, Rand3DElastic": monai,
        f"MONAI {version('monai')}, RandAffine + RandSmoothDeform": monai_quickest,
        f"batchgeneratorsv2 {version('batchgeneratorsv2')}": batchgeneratorsv2,
    }
    runs = {name: make(image, label) for name, make in makers.items()}
    for name, run in runs.items():
        for _ in range(2):
            x, y = run()
        if torch.equal(x.reshape(image.shape), image) or set(y.unique().tolist()) != {0, 1}:
            raise RuntimeError(f"{name} left the image alone or lost the label")
    times: dict[str, list[float]] = {name: [] for name in runs}
    clock = time.process_time if threads == 1 else time.perf_counter  # so that other work does not count
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            times[name].append(1e3 * (clock() - start))
    own = times["dsnotes"]
    return [
        (name, statistics.median(t), statistics.median(a / b for a, b in zip(t, own, strict=True)))
        for name, t in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    options = parser.parse_args()
    lines = [
        f"## Augmentation of a {SIZE}³ patch, everything on",
        "",
        f"`python benchmarks/augment.py` on a {platform.machine()} CPU with torch {torch.__version__}, "
        f"{options.rounds} rounds.",
        "",
        "| threads | | ms | × dsnotes |",
        "|---|---|---|---|",
    ]
    for threads in options.threads:
        rows = compare(threads, options.rounds)
        lines += [f"| {threads} | {name} | {ms:.1f} | {ratio:.2f} |" for name, ms, ratio in rows]
    print(*lines, sep="\n")
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
