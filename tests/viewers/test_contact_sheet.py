"""Decisions are in the file as they are made, come back from it, and are those of the case that was clicked."""

from __future__ import annotations

import csv
import json
from datetime import datetime

import numpy as np
import pytest

from dsnotes.data import open_dataset, save_label, save_volume
from dsnotes.data.case import Case
from dsnotes.viewers import review_log as module
from dsnotes.viewers import style
from dsnotes.viewers.contact_sheet import contact_sheet
from dsnotes.viewers.focus import focus
from dsnotes.viewers.review_log import accepted, read_decisions


def crops(n: int) -> list[Case]:
    y, x = np.mgrid[:24, :24]
    cases = []
    for number in range(n):
        soft = np.clip(8.5 - np.hypot(y - 12, x - 12 + number % 3), 0, 1).astype(np.float32)
        label = (soft >= 0.5).astype(np.uint8)
        cases.append(Case(f"crop-{number:02d}", 800 * soft - 800, label, (0.7, 0.7), {"soft": soft}))
    return cases


def lines(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def tiles(sheet) -> list:
    return list(sheet.controls.children[2].children)


def test_a_head_less_run_gets_one_picture_and_writes_nothing(tmp_path):
    sheet = contact_sheet(crops(5), tmp_path / "decisions.csv")
    assert sheet.controls is None
    assert style.png(sheet.figure).startswith(b"\x89PNG")
    assert not (tmp_path / "decisions.csv").exists()
    assert repr(sheet).startswith("ContactSheet(page 1 of 1: of 5 cases 0 accepted, 0 rejected, 5 open;")


def test_each_case_stands_bare_and_with_its_outline(tmp_path):
    from matplotlib.contour import ContourSet

    figure = contact_sheet(crops(5), tmp_path / "d.csv").figure
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 10
    outlines = [sum(isinstance(one, ContourSet) for one in axes.collections) for axes in drawn]
    assert outlines == [0, 4] * 5  # the mask's, and the soft mask's three levels
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["label", "soft mask, lines at ¼ ½ ¾"]


def test_a_click_is_in_the_file_at_once_and_a_change_of_mind_too(tmp_path):
    path = tmp_path / "decisions.csv"
    sheet = contact_sheet(crops(3), path, buttons=True)
    assert lines(path) == [["name", "decision", "time"]]
    tiles(sheet)[1].children[1].value = "reject"
    assert [row[:2] for row in lines(path)[1:]] == [["crop-01", "reject"]]
    assert datetime.fromisoformat(lines(path)[1][2]).tzinfo is not None
    tiles(sheet)[1].children[1].value = "accept"
    tiles(sheet)[2].children[1].value = "reject"
    assert [row[:2] for row in lines(path)[1:]] == [["crop-01", "reject"], ["crop-01", "accept"], ["crop-02", "reject"]]
    assert read_decisions(path) == {"crop-01": "accept", "crop-02": "reject"}
    sheet.decide("crop-00", "accept")  # in words: the button follows, and nothing is kept twice
    assert tiles(sheet)[0].children[1].value == "accept"
    assert len(lines(path)) == 5
    heads = [axes.get_title(loc="left") for axes in sheet.figure.axes if axes.get_title(loc="left")]
    assert heads == ["✓ 1  crop-00", "✓ 2  crop-01", "✗ 3  crop-02"]
    assert "of 3 cases 2 accepted, 1 rejected, 0 open" in sheet.figure.get_suptitle()


def test_a_file_is_taken_up_where_it_was_left(tmp_path):
    path, cases = tmp_path / "decisions.csv", crops(14)
    first = contact_sheet(cases, path)
    for case in cases[:12]:
        first.decide(case.name, "accept")
    again = contact_sheet(cases, path, buttons=True)
    assert again.page == 2
    assert len(tiles(again)) == 2
    again.controls.children[0].value = 1
    assert again.page == 1
    assert [tile.children[1].value for tile in tiles(again)] == ["accept"] * 12
    assert len(lines(path)) == 13  # looking decides nothing
    assert contact_sheet(cases, path, page=1).page == 1


def test_what_somebody_else_added_meanwhile_stays(tmp_path):
    path = tmp_path / "decisions.csv"
    mine, theirs = contact_sheet(crops(3), path), contact_sheet(crops(3), path)
    mine.decide("crop-00", "accept")
    theirs.decide("crop-01", "reject")
    assert read_decisions(path) == {"crop-00": "accept", "crop-01": "reject"}


def test_the_accepted_come_in_their_own_order_as_list_or_dataset(tmp_path):
    cases, path = crops(4), tmp_path / "decisions.csv"
    sheet = contact_sheet(cases, path)
    for name, word in (("crop-03", "accept"), ("crop-01", "reject"), ("crop-00", "accept")):
        sheet.decide(name, word)
    assert accepted(cases, path) == [cases[0], cases[3]]
    listed = [{"image": f"imagesTr/{c.name}.nii.gz", "label": f"labelsTr/{c.name}.nii.gz"} for c in cases]
    about = {"labels": {"0": "background", "1": "lesion"}, "modality": {"0": "CT"}, "training": listed}
    (tmp_path / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    for case in cases:
        save_volume(tmp_path / f"imagesTr/{case.name}.nii.gz", case.image, case)
        save_label(tmp_path / f"labelsTr/{case.name}.nii.gz", case.label, case)
    data = open_dataset(tmp_path)
    assert accepted(data, path).names == ("crop-00", "crop-03")
    assert contact_sheet(data, path).names == list(data.names)


def test_a_file_of_another_set_is_refused(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("name,decision,time\nliver-3,accept,2020-01-01\n", encoding="utf-8")
    said = r"decides on 1 other cases, such as 'liver-3', and on none of these 2, such as 'crop-00'\. Pass another file"
    with pytest.raises(ValueError, match=said):
        contact_sheet(crops(2), path)
    with pytest.raises(ValueError, match=said):
        accepted(crops(2), path)


@pytest.mark.parametrize("row", ["crop-00,maybe,2020", "crop-00,accept", "crop-00"])
def test_a_line_that_is_no_decision_is_named(tmp_path, row):
    path = tmp_path / "decisions.csv"
    path.write_text(f"name,decision,time\ncrop-01,reject,2020\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 3: .* is no decision\. Needed are a name, 'accept' or 'reject'"):
        contact_sheet(crops(2), path)


def test_another_table_is_not_overwritten(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("name;decision;time\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"begins with 'name;decision;time'.*save it with commas"):
        contact_sheet(crops(2), path, buttons=True)
    assert path.read_text(encoding="utf-8") == "name;decision;time\n"


def test_an_unknown_word_or_case_is_refused_before_it_is_kept(tmp_path):
    sheet = contact_sheet(crops(2), tmp_path / "decisions.csv")
    with pytest.raises(ValueError, match="'perhaps' is not a decision. Pass 'accept' or 'reject'"):
        sheet.decide("crop-00", "perhaps")
    with pytest.raises(KeyError, match="no case 'crop-0'; the nearest names: crop-0"):
        sheet.decide("crop-0", "accept")
    assert not (tmp_path / "decisions.csv").exists()


def test_a_folder_that_cannot_be_written_says_so_before_the_first_click(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be written .*decisions would be lost\. Pass decisions= in a folder"):
        contact_sheet(crops(2), tmp_path / "file" / "decisions.csv", buttons=True)


def test_a_click_that_could_not_be_kept_is_taken_back_and_says_so(tmp_path, monkeypatch):
    sheet = contact_sheet(crops(2), tmp_path / "decisions.csv", buttons=True)
    tiles(sheet)[0].children[1].value = "accept"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    tiles(sheet)[0].children[1].value = "reject"
    tiles(sheet)[1].children[1].value = "reject"
    assert "not saved:" in sheet.controls.children[1].value
    assert "No space left" in sheet.controls.children[1].value
    assert [tile.children[1].value for tile in tiles(sheet)] == ["accept", None]
    assert read_decisions(tmp_path / "decisions.csv") == {"crop-00": "accept"}
    assert [path.name for path in tmp_path.iterdir()] == ["decisions.csv"]


def test_of_a_volume_the_slice_through_the_lesion_is_shown(volume, tmp_path):
    sheet = contact_sheet([volume], tmp_path / "d.csv", zoom=4)
    bare = sheet.figure.axes[0]
    z = focus(sheet._shown["box"])[0]
    np.testing.assert_array_equal(bare.images[0].get_array(), volume.image[z])
    assert bare.get_xlim()[1] - bare.get_xlim()[0] == pytest.approx(8)


def test_no_case_two_of_one_name_no_file_and_no_such_page(tmp_path):
    with pytest.raises(ValueError, match="no case came"):
        contact_sheet([], tmp_path / "d.csv")
    with pytest.raises(ValueError, match="several cases are called 'crop-00'"):
        contact_sheet(crops(1) * 2, tmp_path / "d.csv")
    with pytest.raises(FileNotFoundError, match="decide first, with contact_sheet"):
        accepted(crops(1), tmp_path / "d.csv")
    with pytest.raises(ValueError, match="page=3, but 14 cases fill pages 1 to 2"):
        contact_sheet(crops(14), tmp_path / "d.csv", page=3)


def test_the_contrast_is_that_around_the_label(tmp_path):
    """The air of a CT is far darker than anything near the organ, and would take most of the greys."""
    image = np.full((40, 40), -1000.0, np.float32)
    image[5:35, 5:35] = np.linspace(0, 100, 30)
    label = np.zeros((40, 40), np.uint8)
    label[18:23, 18:23] = 1
    low, high = (
        contact_sheet([Case("ct", image, label, (1.0, 1.0))], tmp_path / "d.csv").figure.axes[0].images[0].get_clim()
    )
    assert 0 < low < 50 < high < 100
    given = contact_sheet([Case("ct", image, label, (1.0, 1.0))], tmp_path / "d.csv", window=(-1000, 400))
    assert given.figure.axes[0].images[0].get_clim() == (-1000, 400)
