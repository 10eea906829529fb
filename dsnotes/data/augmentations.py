"""Augmentations by name: "default", our own, and those that papers use, as published.

"default" is for images of other scanners than those of the training set. It rotates nine samples in ten, scales nine in
ten and changes the grey values of nearly all. It does not mirror, because a mirrored heart or liver is not realistic;
where left and right are alike, pass `replace(DEFAULT, mirror=(2,))`. The ranges are ours;
`benchmarks/recipe.py` measures what each part is worth.
"""

from __future__ import annotations

from dataclasses import replace

from dsnotes.data.augment import Augmentation
from dsnotes.safety.nearest import nearest

DEFAULT = Augmentation(
    rotation=(20, 10, 10),
    p_rotation=0.9,
    scale=(0.75, 1.3),
    p_scale=0.9,
    p_elastic=0.2,
    p_gamma=0.5,
    mirror=(),
    noise=(0, 0.2),
    p_noise=0.25,
    blur=(0.5, 1.2),
    p_blur=0.25,
    brightness=(0.8, 1.25),
    p_brightness=0.5,
    shift=(-0.3, 0.3),
    p_shift=0.5,
    contrast=(0.65, 1.5),
    p_contrast=0.5,
    low_resolution=(0.5, 1),
    p_low_resolution=0.2,
    p_inverted_gamma=0.1,
)
MSS = Augmentation()  # MSS U-Net's release

# nnU-Net's trainer: no elastic deformation; rotation by any angle in 2-D; noise with a variance of up to .1.
NNUNET = Augmentation(
    rotation=(30, 30, 30),
    scale=(0.7, 1.4),
    p_elastic=0,
    noise=(0, 0.1**0.5),
    p_noise=0.1,
    p_blur=0.2,
    p_brightness=0.15,
    p_contrast=0.15,
    p_low_resolution=0.25,
    p_inverted_gamma=0.1,
)
NAMED = {"default": DEFAULT, "mss": MSS, "nnu-net": NNUNET}


def augmentation_of(setting: bool | str | Augmentation, dims: int) -> Augmentation | None:
    """What `Settings.augment` means: True is "default", False none."""
    if isinstance(setting, Augmentation) or setting is False:
        return setting or None
    name = "default" if setting is True else setting
    if name == "nnu-net" and dims == 2:
        return replace(NNUNET, rotation=(180, 180, 180))
    return NAMED[name]


def check_name(name: str) -> None:
    if name not in NAMED:
        near = nearest(name, NAMED) or list(NAMED)
        raise ValueError(f"augment={name!r} is unknown. Choose {' or '.join(map(repr, near))}.")
