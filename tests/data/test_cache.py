"""What is cached equals what is computed, is made once, and is never half there."""

import json
import os

import numpy as np
import pytest
import torch

from dsnotes.data import cache as store
from dsnotes.data import dataset as module
from dsnotes.data.dataset import open_dataset
from dsnotes.data.files import open_case, save_label, save_volume
from dsnotes.data.foreground import class_counts, lowest
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.resample import restore

SETTINGS = Preprocess(spacing=(2.0, 1.0, 1.5), clip=(-100.0, 100.0), normalise="window")


def test_cached_cases_are_the_same_and_memory_mapped(folder, tmp_path, phantom):
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.ones((4, 12, 10), "f4"), phantom("p1_a"))
    (folder / "recistTr.json").write_text(json.dumps({"p1_a": {"slice": 2, "long_axis": [[1, 2], [3, 4]]}}))
    plain = open_dataset(folder).preprocess(SETTINGS)
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    for _ in ("written", "read"):
        store._load.cache_clear()
        for ours, truth in zip(data, plain, strict=True):
            assert isinstance(ours.image, np.memmap)
            assert isinstance(ours.label, np.memmap)
            np.testing.assert_array_equal(ours.image, truth.image)
            np.testing.assert_array_equal(ours.label, truth.label)
            assert (ours.name, ours.spacing) == (truth.name, truth.spacing)
            assert set(ours.extras) == set(truth.extras)
            for name in ("geometry", "grid", "names", "recist"):
                assert ours.extras.get(name) == truth.extras.get(name)
            np.testing.assert_array_equal(class_counts(ours), class_counts(truth))
            np.testing.assert_array_equal(lowest(ours), lowest(truth))
    assert isinstance(data[0].extras["soft"], np.memmap)
    assert restore(np.array(data[0].label), data[0]).shape == (4, 12, 10)
    saved = save_label(tmp_path / "back.nii.gz", restore(np.array(data[0].label), data[0]), data[0])
    assert open_case(saved).space == (4, 12, 10)


def test_a_cached_case_is_made_once(folder, tmp_path, monkeypatch):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    assert len(list(data)) == 4
    monkeypatch.setattr(module, "open_case", lambda *_args, **_named: pytest.fail("opened again"))
    store._load.cache_clear()
    monkeypatch.setattr(np, "bincount", lambda *_args, **_named: pytest.fail("counted again"))
    again = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    batch = draw_batch(again, patch=(8, 16, 4), batch=4, foreground=1.0, generator=torch.Generator().manual_seed(0))
    assert batch["label"].flatten(1).any(1).all()


def test_a_case_stays_open_while_it_is_in_use(folder, tmp_path, monkeypatch):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    first = data[0]
    monkeypatch.setattr(np, "load", lambda *_args, **_named: pytest.fail("loaded again"))
    assert data[0] is first


def test_the_cache_stays_where_it_is_when_the_working_folder_changes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = open_dataset(folder.absolute(), normalise="image", cache="cache")
    monkeypatch.chdir(folder)
    assert data[0].name == "p1_a"
    assert (tmp_path / "cache").is_dir()


def test_other_settings_or_files_make_a_case_anew(folder, tmp_path, phantom):
    cache = tmp_path / "cache"

    def folders() -> int:
        return len(list(cache.iterdir()))

    open_dataset(folder).preprocess(SETTINGS, cache=cache)[0]
    assert folders() == 1
    open_dataset(folder).preprocess(Preprocess(normalise="image"), cache=cache)[0]
    assert folders() == 2
    os.utime(folder / "imagesTr" / "p1_a.nii.gz", (1, 1))
    open_dataset(folder).preprocess(SETTINGS, cache=cache)[0]
    assert folders() == 3
    label = folder / "labelsTr" / "p1_a.nii.gz"
    before = label.stat()
    save_label(label, np.eye(12, 10, dtype="u1")[None].repeat(4, 0), phantom("p1_a"))
    assert label.stat().st_size != before.st_size
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
    open_dataset(folder).preprocess(SETTINGS, cache=cache)[0]
    assert folders() == 4
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.ones((4, 12, 10), "f4"), phantom("p1_a"))
    assert "soft" in open_dataset(folder).preprocess(SETTINGS, cache=cache)[0].extras
    assert folders() == 5


def test_an_unlabelled_case_is_cached_too(folder, tmp_path):
    (case,) = open_dataset(folder, split="test", spacing=(3.0, 2.0, 2.0), cache=tmp_path / "cache")
    assert case.label is None
    assert isinstance(case.image, np.memmap)


def test_what_is_interrupted_leaves_no_half_case(folder, tmp_path, monkeypatch):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    data[0]
    save, written = np.save, []

    def full(path, array):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"case p1_b cannot be cached in .*cache \(No space left on device\)\. Free some"):
        data[1]
    monkeypatch.undo()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert data[1].name == "p1_b"
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_two_processes_at_once(folder, tmp_path):
    """The second finds, when it is ready, that the first has stored the case: it takes that one."""
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    opened = module.Dataset._opened

    def slow(self, entry):
        module.Dataset._opened = opened
        data[0]
        return opened(self, entry)

    module.Dataset._opened = slow
    assert data[0].name == "p1_a"
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "counts.npy", "case.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_entry_is_made_anew(folder, tmp_path, name, how):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    truth = np.array(data[0].image), np.array(data[0].label)
    (place,) = (tmp_path / "cache").iterdir()
    for memory in (store._load, store._verify):  # as in another process
        memory.cache_clear()
    content = bytearray((place / name).read_bytes())
    content[len(content) // 2] ^= 4
    {
        "cut": lambda: (place / name).write_bytes(content[: len(content) // 2]),
        "flipped": lambda: (place / name).write_bytes(content),
        "gone": lambda: (place / name).unlink(),
        "empty": lambda: (place / name).write_bytes(b""),
    }[how]()
    with pytest.warns(RuntimeWarning, match="is damaged.*The case is made again"):
        again = data[0]
    np.testing.assert_array_equal(again.image, truth[0])
    np.testing.assert_array_equal(again.label, truth[1])
    assert len(list((tmp_path / "cache").iterdir())) == 1
