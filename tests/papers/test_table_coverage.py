"""Datasets on disk and the systems of the tables they serve."""

from __future__ import annotations

import json

from dsnotes.papers.table_coverage import data_and_tables, systems_of_tables


def test_a_table_is_served_by_the_systems_that_are_its_rows():
    found = systems_of_tables(["mss-3", "dsms-1", "mss-1", "no-table"])
    assert found["mss-3"] == ("classic-unet-3d", "mss-unet")
    assert "dsmsc-unet" in found["dsms-1"]
    assert found["mss-1"] == found["no-table"] == ()


def test_each_dataset_comes_with_its_tables(tmp_path):
    about = {"name": "KiTS19", "tables": ["mss-2"], "labels": {"0": "background"}, "training": []}
    (tmp_path / "kits19").mkdir()
    (tmp_path / "kits19" / "dataset.json").write_text(json.dumps(about))
    ((found, tables),) = data_and_tables(tmp_path)
    assert (found.name, found.cases) == ("KiTS19", 0)
    assert tables == {"mss-2": ("classic-unet-3d", "mss-unet")}
