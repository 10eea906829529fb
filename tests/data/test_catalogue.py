"""What lies on the disk is told from dataset.json and file sizes alone."""

from __future__ import annotations

import json

import pytest

from dsnotes.data.catalogue import on_disk


def test_folders_are_told_by_what_they_say_of_themselves(tmp_path, decathlon):
    decathlon(tmp_path / "b", name="Beta", licence="CC0", source="https://example.org", tables=["mss-2", "mss-3"])
    decathlon(
        tmp_path / "a", names=("p1",), name="Alpha", channels=(2,), modality={"0": "T1", "1": "T2"}, license="MIT"
    )
    (tmp_path / "notes").mkdir()
    first, second = on_disk(tmp_path)
    assert (first.name, first.cases, first.missing, first.licence) == ("Alpha", 1, 0, "MIT")
    assert (first.modality, first.tables) == (("T1", "T2"), ())
    assert (second.name, second.cases, second.tables) == ("Beta", 4, ("mss-2", "mss-3"))
    assert second.labels == ("background", "organ", "tumour")
    assert second.source == "https://example.org"
    assert second.bytes == sum(path.stat().st_size for path in (tmp_path / "b").rglob("*.nii.gz"))


def test_a_dataset_itself_may_be_passed(folder):
    (found,) = on_disk(folder)
    assert (found.name, found.folder) == ("Phantom", folder)


def test_what_is_listed_and_not_there_is_counted(folder):
    (folder / "imagesTr" / "p1_a.nii.gz").unlink()
    (folder / "imagesTs" / "p9.nii.gz").unlink()
    assert on_disk(folder)[0].missing == 2


@pytest.mark.parametrize("broken", ["{", "[]"])
def test_a_broken_description_is_a_row_with_its_trouble(folder, broken):
    (folder / "dataset.json").write_text(broken)
    (found,) = on_disk(folder)
    assert found.name == "Task99_Phantom"
    assert "dataset.json" in found.trouble


def test_names_may_come_as_a_list(folder):
    about = json.loads((folder / "dataset.json").read_text()) | {"labels": ["background", "organ"]}
    (folder / "dataset.json").write_text(json.dumps(about))
    assert on_disk(folder)[0].labels == ("background", "organ")


def test_no_folder_is_no_data(tmp_path):
    assert on_disk(tmp_path / "data") == []
    assert on_disk(tmp_path) == []
