"""Read nnU-Net's raw folders, version 2: one file per channel, labels by name, overlapping regions, ignore label.

Isensee et al., https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md
"""

from __future__ import annotations

import re
from pathlib import Path

from dsnotes.data.layout import CHANNEL, Entry, Layout, ignored_label, require_regions, without_channel


def is_raw(about: dict) -> bool:
    """Whether dataset.json is of nnU-Net version 2, which names channels instead of modalities."""
    return "channel_names" in about or "file_ending" in about


def require_not_first_version(folder: Path, about: dict) -> None:
    """Raise an error for version 1, which lists imagesTr/case.nii.gz for a file called case_0000.nii.gz."""
    for item in about.get("training") or ():
        image = item.get("image") if isinstance(item, dict) else item
        if not isinstance(image, str) or (folder / image).exists():
            return
        path = folder / image
        numbered = path.with_name(re.sub(r"(\.nii(\.gz)?)$", r"_0000\1", path.name))
        if numbered.exists():
            raise ValueError(
                f"{folder} is in the layout of nnU-Net version 1: dataset.json lists {path.name}, the file is "
                f"{numbered.name}. Convert it with nnUNetv2_convert_old_nnUNet_dataset {folder} NAME; or move "
                f"dataset.json away and run dsnotes adopt {folder} --label 1=NAME, which pairs the files by name."
            )
        return


def read_raw(folder: Path, about: dict, split: str) -> Layout:
    """dataset.json of version 2 as a `Layout`; "training" is imagesTr/ with labelsTr/, "test" imagesTs/."""
    channels = _channels(folder, about)
    named = about.get("labels")
    if not isinstance(named, dict) or named.get("background") != 0:
        raise ValueError(
            f'{folder}/dataset.json has {named!r} under "labels"; nnU-Net version 2 maps names to numbers: '
            f'{{"background": 0, "tumour": 1}}, or a list of numbers for a region that overlaps others.'
        )
    ignore = named.get("ignore")
    regions, labels, order = {}, {}, ()
    if any(isinstance(value, list) for name, value in named.items() if name not in ("background", "ignore")):
        regions = {
            name: tuple(value) if isinstance(value, list) else (value,)
            for name, value in named.items()
            if name not in ("background", "ignore")
        }
        order = tuple(about.get("regions_class_order", ()))
        require_regions(regions, order, folder)
        of_value = dict(zip(order, regions, strict=True))
        values = {value for region in regions.values() for value in region}
        labels = {0: "background"} | {value: of_value.get(value, f"label {value}") for value in sorted(values)}
        if ignore is not None:
            labels[ignore] = "ignore"
    else:
        labels = {value: name for name, value in named.items()}
    if not all(isinstance(value, int) for value in labels) or sorted(labels) != list(range(len(labels))):
        raise ValueError(
            f"{folder}/dataset.json names the label values {sorted(labels, key=str)}; needed are 0 (background), 1, 2, "
            f"… without gaps. Renumber the labels and dataset.json."
        )
    ignored_label(labels, folder)
    labels.pop(ignore, None)
    return Layout(
        name=str(about.get("name", folder.name)),
        labels=dict(sorted(labels.items())),
        modality=channels,
        entries=tuple(_entries(folder, about, split, len(channels))),
        ignore=ignore,
        regions=regions,
        order=order,
    )


def _channels(folder: Path, about: dict) -> tuple[str, ...]:
    names, ending = about.get("channel_names"), about.get("file_ending")
    if not isinstance(names, dict) or not names or not isinstance(ending, str):
        raise ValueError(
            f"{folder}/dataset.json has channel_names {names!r} and file_ending {ending!r}; needed are "
            f'"channel_names": {{"0": "CT"}} and "file_ending": ".nii.gz".'
        )
    return tuple(str(names[key]) for key in sorted(names, key=int))


def _entries(folder: Path, about: dict, split: str, channels: int):
    if split not in ("training", "test"):
        raise ValueError(f"{folder} has no list {split!r}; pass split='training' or split='test'.")
    images, ending = folder / ("imagesTr" if split == "training" else "imagesTs"), about["file_ending"]
    if split == "training" and isinstance(listed := about.get("dataset"), dict):  # files listed one by one
        for name, item in sorted(listed.items()):
            paths = tuple(folder / path for path in item["images"])
            label = folder / item["label"]
            yield Entry(name, _require_all(name, paths, label, channels, folder), label)
        return
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(images.glob(f"*{ending}")):
        stem = path.name.removesuffix(ending)
        if (number := CHANNEL.search(stem)) is None:
            raise ValueError(
                f"{path} has no channel number; nnU-Net names the first channel {stem}_0000{ending}. Rename it."
            )
        found.setdefault(without_channel(stem), {})[int(number[1])] = path
    if not found and split == "training":
        raise FileNotFoundError(f"{images} holds no file that ends in {ending}, the file_ending in dataset.json.")
    for name, by_number in found.items():
        label = folder / "labelsTr" / f"{name}{ending}" if split == "training" else None
        paths = tuple(by_number[number] for number in sorted(by_number) if number < channels)
        yield Entry(name, _require_all(name, paths, label, channels, folder), label)


def _require_all(name: str, paths: tuple[Path, ...], label: Path | None, channels: int, folder: Path):
    missing = [path for path in (*paths, *([label] if label else [])) if not path.is_file()]
    if len(paths) != channels:
        raise ValueError(
            f"case {name} in {folder} has {len(paths)} of the {channels} channels that dataset.json names under "
            f"'channel_names'. Add the missing file, or move the case's files away."
        )
    if missing:
        raise FileNotFoundError(
            f"case {name} in {folder}: {missing[0]} is missing. Fetch it, or move the case's other files away."
        )
    return paths if len(paths) > 1 else paths[0]
