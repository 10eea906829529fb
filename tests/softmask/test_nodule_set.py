"""From two diameters to a set that opens: where the crop lies, what is kept, and what is said of what fails."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dsnotes.data import open_dataset, phantoms
from dsnotes.data.case import Case
from dsnotes.data.deeplesion import read_lesions, write_deeplesion
from dsnotes.metrics import dice
from dsnotes.softmask import nodule_set
from dsnotes.softmask.nodule_set import make_set


def disk(shape=(100, 120), centre=(45.0, 60.0), radius=8.0, *, contrast=800.0) -> Case:
    """A bright disk, its true mask, and its axes."""
    y, x = centre
    distance = np.hypot(*(np.indices(shape) - np.reshape(centre, (2, 1, 1))))
    grain = np.random.default_rng(0).normal(0, 20, shape)
    image = (-800 + contrast * (distance <= radius) + grain).astype(np.float32)
    recist = {
        "long_axis": ((y - radius, x), (y + radius, x)),
        "short_axis": ((y, x - radius + 1), (y, x + radius - 1)),
    }
    return Case("disk", image, (distance <= radius).astype(np.uint8), (0.8, 0.7), {"recist": recist})


def filed(folder, *cases: Case):
    return read_lesions(write_deeplesion(cases, folder)), folder / "Images_png"


def test_the_crop_is_the_slice_round_the_lesion_and_its_axes_move_along(tmp_path):
    case = disk()
    report = make_set(*filed(tmp_path / "raw", case), tmp_path / "set")
    assert report.made == ("000001_01_01_001-1",)
    (opened,) = open_dataset(tmp_path / "set")
    top, left = 45 - 32, 60 - 32  # a pixel left over stands before: 32 before the middle of 64, 31 behind
    expected = np.rint(case.image[top : top + 64, left : left + 64])
    np.testing.assert_array_equal(opened.image, np.maximum(expected, -1024))
    assert opened.spacing == pytest.approx((0.8, 0.7))
    (y1, x1), (y2, x2) = opened.extras["recist"]["long_axis"]
    assert (y1 + top, x1 + left, y2 + top, x2 + left) == (37, 60, 53, 60)
    assert opened.extras["recist"]["long_mm"] == pytest.approx(16 * 0.8)
    assert opened.extras["recist"]["short_mm"] == pytest.approx(14 * 0.7)
    truth = case.label[top : top + 64, left : left + 64]
    assert dice(opened.label, truth) > 0.95
    assert np.abs(opened.extras["soft"] - truth).mean() < 0.01
    assert ((opened.extras["soft"] > 0.02) & (opened.extras["soft"] < 0.98)).any()


def test_at_the_border_the_slice_goes_on(tmp_path):
    case = disk(centre=(9.0, 112.0), radius=6)
    make_set(*filed(tmp_path / "raw", case), tmp_path / "set")
    (opened,) = open_dataset(tmp_path / "set")
    rows, columns = np.arange(64) + 9 - 32, np.arange(64) + 112 - 32
    expected = np.rint(case.image[np.clip(rows, 0, 99)][:, np.clip(columns, 0, 119)])
    np.testing.assert_array_equal(opened.image, np.maximum(expected, -1024))
    assert opened.extras["recist"]["long_axis"] == ((26, 32), (38, 32))


def test_phantom_nodules_come_back_as_they_were_drawn(tmp_path):
    cases = phantoms.nodules(4, seed=1, size=96)
    report = make_set(*filed(tmp_path / "raw", *cases), tmp_path / "set")
    assert not report.failed
    for case, opened in zip(cases, open_dataset(tmp_path / "set"), strict=True):
        shift = np.subtract(case.extras["recist"]["long_axis"][0], opened.extras["recist"]["long_axis"][0])
        top, left = np.rint(shift).astype(int)
        assert dice(opened.label, case.label[top : top + 64, left : left + 64]) > 0.6


def test_each_failure_is_reported_with_its_reason_and_stops_nothing(tmp_path):
    good, y, x = disk(), 45.0, 60.0
    outside = {"long_axis": ((95.0, x), (104.0, x)), "short_axis": ((99.0, 55.0), (99.0, 64.0))}
    wide = {"long_axis": ((y - 14, x), (y + 14, x)), "short_axis": ((y, x - 12), (y, x + 12))}
    cross = disk(radius=0).image
    cross[31:60, 60] = cross[45, 48:73] = 0
    cases = [
        disk(),
        replace(good, extras={"recist": outside}),
        disk(radius=25.0),
        replace(good, image=np.full_like(good.image, -800)),
        replace(good, image=cross, extras={"recist": wide}),
        disk(),
    ]
    lesions, images = filed(tmp_path / "raw", *cases)
    (images / "000006_01_01" / "001.png").unlink()
    lesions[0].row["Measurement_coordinates"] = "1, 2"
    report = make_set(lesions, images, tmp_path / "set")
    assert list(report.failed) == [f"00000{n}_01_01_001-1" for n in range(1, 7)]
    reasons = list(report.failed.values())
    for reason, said in zip(
        reasons,
        (
            "line 2: Measurement_coordinates is '1, 2'",
            "line 3: the axes .* leave the slice",
            r"needs 71 pixels with its margin.*size=80",
            "every pixel of the crop is -800 HU",
            r"GrabCut found \d+ of about 528 pixels",
            "Fetch the archive",
        ),
        strict=True,
    ):
        with pytest.raises(ValueError, match=said):
            raise ValueError(reason)
    assert str(report).startswith(f"{tmp_path / 'set'}: 0 made, 0 kept from before, 6 failed\n  000001_01_01_001-1: ")
    assert (tmp_path / "set/failed.csv").read_text(encoding="utf-8").startswith("name,reason\n000001_01_01_001-1,")


def test_a_second_call_makes_only_what_is_missing(tmp_path, monkeypatch):
    lesions, images = filed(tmp_path / "raw", disk(), disk(centre=(50.0, 50.0)))
    make_set(lesions[:1], images, tmp_path / "set")
    monkeypatch.setattr(nodule_set, "read_slice", counted := Counted(nodule_set.read_slice))
    report = make_set(lesions, images, tmp_path / "set")
    assert (report.kept, report.made) == (("000001_01_01_001-1",), ("000002_01_01_001-1",))
    assert counted.calls == 1
    assert make_set(lesions[1:], images, tmp_path / "set").kept == ("000002_01_01_001-1",)
    assert open_dataset(tmp_path / "set").names == ("000001_01_01_001-1", "000002_01_01_001-1")


class Counted:
    def __init__(self, function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)


def test_after_an_interruption_what_is_finished_opens_and_the_rest_is_made(tmp_path, monkeypatch):
    lesions, images = filed(tmp_path / "raw", disk(), disk(centre=(50.0, 50.0)))
    soft_mask = nodule_set.soft_mask

    def once(*args, **kwargs):
        monkeypatch.setattr(nodule_set, "soft_mask", interrupted)
        return soft_mask(*args, **kwargs)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(nodule_set, "soft_mask", once)
    with pytest.raises(KeyboardInterrupt):
        make_set(lesions, images, tmp_path / "set")
    assert open_dataset(tmp_path / "set").names == ("000001_01_01_001-1",)
    monkeypatch.setattr(nodule_set, "soft_mask", soft_mask)
    assert make_set(lesions, images, tmp_path / "set").made == ("000002_01_01_001-1",)
    assert not list((tmp_path / "set").rglob("part-*"))


def test_source_licence_and_settings_are_written_down(tmp_path):
    make_set(*filed(tmp_path / "raw", disk()), tmp_path / "set", licence="mine", source="here", eps=0.02)
    about = json.loads((tmp_path / "set/dataset.json").read_text(encoding="utf-8"))
    assert (about["licence"], about["reference"], about["numTraining"]) == ("mine", "here", 1)
    assert about["made_with"] == {"size": 64, "radius": 3, "core": 1 / 3, "eps": 0.02, "binary": "soft mask"}


def test_one_folder_takes_one_way_of_labelling(tmp_path):
    lesions, images = filed(tmp_path / "raw", disk())
    make_set(lesions, images, tmp_path / "set")
    with pytest.raises(ValueError, match=r"made with .*'radius': 3.*earlier settings"):
        make_set(lesions, images, tmp_path / "set", radius=2)


def test_a_set_from_before_the_core_was_kept_goes_on_as_it_began(tmp_path):
    lesions, images = filed(tmp_path / "raw", disk())
    make_set(lesions, images, tmp_path / "set", core=0.0)
    about = json.loads((tmp_path / "set/dataset.json").read_text(encoding="utf-8"))
    del about["made_with"]["core"]
    (tmp_path / "set/dataset.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"'core': 0\.0.*earlier settings"):
        make_set(lesions, images, tmp_path / "set")
    assert make_set(lesions, images, tmp_path / "set", core=0.0).made == ()


def test_wrong_arguments_are_answered_with_what_to_pass(tmp_path):
    lesions, images = filed(tmp_path / "raw", disk())
    with pytest.raises(ValueError, match="needed are a size from 16"):
        make_set(lesions, images, tmp_path / "set", size=8)
    with pytest.raises(ValueError, match=r"'core': 1.* 0 ≤ core < 1"):
        make_set(lesions, images, tmp_path / "set", core=1)
    with pytest.raises(ValueError, match="came more than once: pass each row of the table once"):
        make_set([*lesions, *lesions], images, tmp_path / "set")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written .*a folder that you can write to"):
        make_set(lesions, images, tmp_path / "file" / "set")


def test_the_binary_mask_is_the_soft_one_from_one_half_on(tmp_path):
    case = disk()
    raw = filed(tmp_path / "raw", replace(case, image=gaussian_filter(case.image, 2)))
    make_set(*raw, tmp_path / "soft")
    make_set(*raw, tmp_path / "cut", binary="GrabCut")
    (soft,), (cut,) = open_dataset(tmp_path / "soft"), open_dataset(tmp_path / "cut")
    np.testing.assert_array_equal(soft.label, soft.extras["soft"].squeeze() >= 0.5)
    np.testing.assert_array_equal(cut.extras["soft"], soft.extras["soft"])
    assert (cut.label != soft.label).any()
    with pytest.raises(ValueError, match=r"binary='hard' is unknown. Choose one of \['soft mask', 'GrabCut'\]"):
        make_set(*raw, tmp_path / "other", binary="hard")
