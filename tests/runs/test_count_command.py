"""`dsnotes count` fills the papers' tables of datasets."""

from __future__ import annotations

import numpy as np
import pytest

from dsnotes.cli import main
from dsnotes.data import save_label, save_volume
from dsnotes.data.case import Case
from dsnotes.papers import msds_unet, mss_unet
from dsnotes.runs.count_command import lines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")


@pytest.fixture
def dataset(tmp_path):
    """422 patients, as Lung1 has: every case three slices, of which one has a tumour; one case is longer."""
    import json

    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    names = [f"LUNG1-{n:03d}" for n in range(1, 423)]
    for name in names:
        image = np.zeros((7 if name.endswith("001") else 3, 4, 5), np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[1, 1, 1] = 1
        case = Case(name, image, label, (2.0, 1.0, 1.0))
        save_volume(tmp_path / "imagesTr" / f"{name}.nii.gz", image, case)
        save_label(tmp_path / "labelsTr" / f"{name}.nii.gz", label, case)
    files = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    about = {"name": "Lung1", "labels": {"0": "background", "1": "tumour"}, "modality": {"0": "CT"}, "training": files}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    return tmp_path


def test_table_9_is_counted(dataset, capsys):
    """Patients as printed; of slices, one a patient has a tumour."""
    assert main(["count", str(dataset), "--recipe", "msds", "--patch", "4", "4", "5"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("422 cases of 422 patients")
    assert "  smallest size  3 x 4 x 5 voxels" in said
    assert "  largest size  7 x 4 x 5 voxels" in said
    assert "  median spacing  2 x 1 x 1 mm" in said
    rows = {line[:18].strip(): line[18:].split() for line in said if line.startswith("fold")}
    for name, (patients, *_) in msds_unet.TABLES[9].rows.items():
        assert rows[name][:2] == [str(patients)] * 2, name
        assert int(rows[name][2]) in (2 * patients, 2 * patients + 4), "one case has four slices more"
    (whole,) = (line.split() for line in said if line.startswith("all "))
    assert whole == ["all", "422", "422", "848", "422", "1"]


def test_table_i_has_the_sizes_and_the_parts():
    said = list(lines("kidneys", recipe="mss"))
    patients, *parts = mss_unet.TABLES[1].rows["KiTS19"][:4]
    shares = [round(20 * part / patients) for part in parts]
    assert [int(line.split()[3]) for line in said if line.startswith("fold 1")] == shares, "scaled to 20 phantoms"


def test_a_paper_without_numbers_is_refused(capsys):
    assert main(["count", "lung", "--recipe", "dsms"]) == 2
    assert "choose one of" in capsys.readouterr().err
    assert main(["count", "lung", "--recipe", "msdss"]) == 2
    assert "msds" in capsys.readouterr().err
    assert main(["count", "nowhere"]) == 2
