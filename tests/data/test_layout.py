"""dataset.json as it should be, and as people write it."""

import pytest

from dsnotes.data.dataset import open_dataset


def test_what_dataset_json_says(folder):
    data = open_dataset(folder)
    assert (data.name, data.labels, data.modality) == ("Phantom", {0: "background", 1: "organ", 2: "tumour"}, ("CT",))
    assert data.classes == 3
    assert data.names == ("p1_a", "p1_b", "p2_a", "p3_a")
    assert len(data) == 4


def test_a_missing_file(folder):
    (folder / "labelsTr" / "p2_a.nii.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lists under 'training' a file that is missing: .*nearest names there: p3_a\.nii\.gz"
    ):
        open_dataset(folder)
    with pytest.raises(FileNotFoundError, match=r"there is no 'Task99_Phantoms'; the nearest names there: Task99_Phan"):
        open_dataset(folder.with_name("Task99_Phantoms"))


def test_a_folder_of_another_layout(folder):
    with pytest.raises(FileNotFoundError, match=r"holds no dataset\.json\. .*Folders below that have one: .*Task99_Ph"):
        open_dataset(folder.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": {"0": "background", "4": "tumour"}}, r"names the label values \[0, 4\].*Renumber"),
        ({"labels": {"background": 0}}, r"has \{'background': 0\} under 'labels'; needed is a name for each number"),
        ({"modality": None}, r"has None under 'modality'.*\"CT\""),
        ({"training": "all"}, r"under 'training'; needed is a list of cases"),
        (
            {"training": [{"image": "imagesTr/p1_a.nii.gz"}, {"image": "imagesTs/../imagesTr/p1_a.nii.gz"}]},
            r"lists 'p1_a' more than once under 'training'",
        ),
        (
            {"training": [{"label": "labelsTr/p1_a.nii.gz"}]},
            r'lists \{"label": .*Write \{"image": .*, or just the path',
        ),
        ({"training": [{"image": [5]}]}, r"where each entry names one image"),
        ({"training": [5]}, r"lists 5 under 'training', where each entry names one image\. Write \{\"image\""),
    ],
)
def test_a_wrong_dataset_json(tmp_path, changed, message, decathlon):
    decathlon(tmp_path / "a", **changed)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path / "a")


def test_a_dataset_json_that_is_none(folder):
    (folder / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json is not valid JSON .*Correct it"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match=r"holds a list; needed is a dict of labels, modality, training"):
        open_dataset(folder)
