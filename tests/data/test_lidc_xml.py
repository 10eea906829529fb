"""LIDC's own XML, in the form the archive has it."""

from __future__ import annotations

import pytest

from dsnotes.data.lidc_xml import open_lidc_xml, series_of

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage uid="1.3.6" xmlns="http://www.nih.gov" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><ResponseHeader><Version>1.8.1</Version>'
    "<SeriesInstanceUid>1.3.6.1.99</SeriesInstanceUid></ResponseHeader>"
)


def square(x: int, y: int, half: int) -> str:
    """An outline whose inside has (2·half − 1)² pixels."""
    ring = [(x - half + k, y - half) for k in range(2 * half)] + [(x + half, y - half + k) for k in range(2 * half)]
    ring += [(x + half - k, y + half) for k in range(2 * half)] + [(x - half, y + half - k) for k in range(2 * half)]
    return "".join(f"<edgeMap><xCoord>{a}</xCoord><yCoord>{b}</yCoord></edgeMap>" for a, b in [*ring, ring[0]])


def nodule(*rois: str, malignancy: int | None = 3) -> str:
    said = f"<characteristics><malignancy>{malignancy}</malignancy></characteristics>" if malignancy else ""
    return f"<unblindedReadNodule><noduleID>IL0</noduleID>{said}{''.join(rois)}</unblindedReadNodule>"


def roi(z: float, outline: str, inclusion: str = "TRUE") -> str:
    return f"<roi><imageZposition>{z} </imageZposition><inclusion>{inclusion}</inclusion>{outline}</roi>"


def message(*sessions: str) -> bytes:
    readings = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion>{s}</readingSession>" for s in sessions
    )
    return f"{HEAD}{readings}</LidcReadMessage>".encode()


def opened(xml: bytes, **more):
    return open_lidc_xml(xml, patient="LIDC-IDRI-0007", pixel=0.7, thickness=2.5, **more)


def test_each_session_is_a_reader_in_its_order():
    """x is the column: a square at x = 40, y = 60 lies in row 60."""
    (case,) = opened(message(*(nodule(roi(-10, square(40, 60, h)), malignancy=h) for h in (5, 3, 4, 2))))
    assert case.extras["readers"].sum(axis=(1, 2, 3)).tolist() == [81, 25, 49, 9]
    assert case.extras["malignancy"] == (5, 3, 4, 2)
    assert case.extras["origin"] == (55, 35)
    assert case.extras["series"] == "1.3.6.1.99"
    assert case.extras["z"] == (-10.0,)
    assert case.spacing == (2.5, 0.7, 0.7)
    assert case.label.sum() == 49  # what two of four drew: the second largest


def test_what_is_excluded_is_no_nodule():
    whole = roi(-10, square(40, 60, 5))
    (case,) = opened(message(nodule(whole, roi(-10, square(40, 60, 2), "FALSE")), *[nodule(whole)] * 3))
    assert case.extras["readers"].sum(axis=(1, 2, 3)).tolist() == [81 - 25, 81, 81, 81]


def test_points_and_non_nodules_are_not_taken():
    point = nodule(roi(-10, "<edgeMap><xCoord>5</xCoord><yCoord>6</yCoord></edgeMap>"), malignancy=None)
    none = "<nonNodule><nonNoduleID>1</nonNoduleID><locus><xCoord>5</xCoord><yCoord>6</yCoord></locus></nonNodule>"
    assert opened(message(*[point + none] * 4)) == []


def test_how_many_readers_is_the_callers_to_say():
    xml = message(*[nodule(roi(-10, square(40, 60, 5)))] * 3, "")
    assert opened(xml) == []
    assert len(opened(xml, readers=3)) == 1


def test_two_nodules_are_two_cases():
    both = nodule(roi(-10, square(40, 60, 5))) + nodule(roi(-40, square(90, 90, 3)))
    assert [case.extras["z"] for case in opened(message(*[both] * 4))] == [(-10.0,), (-40.0,)]


def test_a_nodule_nobody_rated_says_so_with_zero():
    (case,) = opened(message(*[nodule(roi(-10, square(40, 60, 5)), malignancy=None)] * 4))
    assert case.extras["malignancy"] == (0, 0, 0, 0)


def test_the_series_is_told_without_parsing_and_radiographs_are_not_ct():
    assert series_of(message("")) == "1.3.6.1.99"
    radiograph = message("").replace(b"LidcReadMessage", b"IdriReadMessage")
    assert series_of(radiograph) is None
    with pytest.raises(ValueError, match="is an? IdriReadMessage, not the LidcReadMessage of a CT"):
        opened(radiograph)


def test_a_cut_file_is_named(tmp_path):
    path = tmp_path / "158.xml"
    path.write_bytes(message(nodule(roi(-10, square(40, 60, 5))))[:-200])
    with pytest.raises(ValueError, match=r"158\.xml is not valid XML .*Fetch it again"):
        opened(path)
