"""`dsnotes predict`: any image in, a label on its own voxels out, once; what does not fit is refused before."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import CORONAL, OBLIQUE, write_series

import dsnotes
from dsnotes.cli import main
from dsnotes.data import phantoms
from dsnotes.data.dicom_labels import read_masks
from dsnotes.data.files import open_case
from dsnotes.data.preprocess import Preprocess
from dsnotes.papers import dsnet
from dsnotes.runs.predict_command import load_run

STEPS = (Preprocess(clip=(-100.0, 300.0), normalise="window"),)  # of the run


@pytest.fixture
def scan(tmp_path):
    """scan(name, axes) -> a NIfTI file that lies turned or oblique in space."""

    def make(name="new.nii.gz", *, axes=OBLIQUE, shape=(13, 30, 27), seed=0):
        image = sitk.GetImageFromArray(np.random.default_rng(seed).normal(50, 150, shape).astype("i2"))
        image.SetSpacing((1.0, 1.0, 3.0))
        image.SetOrigin((-31.5, 12.25, 100.0))
        image.SetDirection(np.ravel(axes).tolist())
        path = tmp_path / "scans" / name
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return make


def predict(*arguments) -> int:
    return main(["predict", *map(str, arguments)])


@pytest.mark.parametrize("axes", [np.eye(3), np.diag([-1.0, -1, 1]), OBLIQUE])
def test_back_on_the_scans_own_grid(run, scan, tmp_path, axes):
    model, path, out = run(), scan(axes=axes), tmp_path / "out"
    assert predict(model, path, "--output", out) == 0
    image, label = sitk.ReadImage(str(path)), sitk.ReadImage(str(out / "new.nii.gz"))
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(label, of)(), getattr(image, of)(), atol=1e-5)
    system = load_run(str(model))
    case = open_case(path)
    expected = dsnotes.to_label(dsnotes.predict(system, STEPS[0](case), patch=(16, 16, 16), overlap=0.25, device="cpu"))
    np.testing.assert_array_equal(open_case(path, out / "new.nii.gz").label, expected)
    assert len(np.unique(expected)) > 1


def test_what_is_said_beside_the_predictions(run, scan, tmp_path):
    out = tmp_path / "out"
    assert predict(run(), scan(), "--output", out, "--probabilities") == 0
    said = json.loads((out / "predictions.json").read_text())
    assert said["labels"] == {"0": "background", "1": "kidney", "2": "big tumour"}
    assert len(said["models"][0]["weights"]) == 64
    volume = (sitk.GetArrayFromImage(sitk.ReadImage(str(out / "new.nii.gz"))) == 1).sum() * 3 / 1000
    assert said["cases"]["new"]["millilitres"]["kidney"] == pytest.approx(volume, abs=1e-3)
    p = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "new_probabilities.nii.gz")))
    assert p.shape[0] == 3
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-4)
    assert '    1   230  159    0        1  1  1    "kidney"' in (out / "labels.txt").read_text()
    assert "2 big_tumour 86 180 233 255" in (out / "labels.ctbl").read_text()


def test_a_second_call_skips_what_is_done_and_takes_what_changed(run, scan, tmp_path, capsys):
    model, out = run(), tmp_path / "out"
    paths = [scan("a.nii.gz"), scan("b.mha")]
    assert predict(model, *paths, "--output", out) == 0
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    scan("b.mha", shape=(9, 20, 20))
    capsys.readouterr()
    assert predict(model, *paths, "--output", out) == 0
    assert "a: done before" in capsys.readouterr().out
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    assert again["a.nii.gz"] == times["a.nii.gz"]
    assert again["b.nii.gz"] != times["b.nii.gz"]


def test_several_runs_are_averaged(run, scan, tmp_path):
    models, path, out = [run(0), run(1)], scan(), tmp_path / "out"
    assert predict(*models, path, "--output", out, "--probabilities") == 0
    case = STEPS[0](open_case(path))
    how = {"patch": (16, 16, 16), "overlap": 0.25, "device": "cpu"}
    mean = np.mean([dsnotes.predict(load_run(str(model)), case, **how) for model in models], 0)
    sure = np.ptp(np.sort(mean, 0)[1:], 0) > 1e-5  # elsewhere the last digit decides
    np.testing.assert_array_equal(open_case(path, out / "new.nii.gz").label[sure], mean.argmax(0)[sure])
    assert sure.mean() > 0.1


def test_the_public_function_takes_a_path(run, scan):
    system, path = load_run(str(run())), scan()
    how = {"patch": (16, 16, 16), "overlap": 0.25, "device": "cpu"}
    expected = dsnotes.predict(system, STEPS[0](open_case(path)), **how)
    np.testing.assert_allclose(dsnotes.predict(system, path, device="cpu"), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"does not know how its images were prepared.*dsnotes\.load"):
        dsnotes.predict(replace(system, task=None), path)


def test_the_runs_own_clean_up(run, scan, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("dsnotes.runs.experiment.cleaned", lambda label, how: seen.append(how) or label * 0)
    assert predict(run(postprocess="kidneys"), scan(), "--output", tmp_path / "out") == 0
    assert seen == ["kidneys"]
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "new.nii.gz"))).any()


def test_channels_of_one_scan(run, scan, tmp_path):
    scan("p_0000.nii.gz"), scan("p_0001.nii.gz"), scan("q_0000.nii.gz"), scan("q_0001.nii.gz")
    assert predict(run(in_channels=2, channels=("T1", "T2")), tmp_path / "scans", "--output", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["p.nii.gz", "q.nii.gz"]


@pytest.mark.parametrize("axes", [CORONAL, OBLIQUE])
def test_dicom_in_and_dicom_seg_out_read_by_pydicom_and_itk(run, tmp_path, axes):
    volume = np.random.default_rng(0).integers(-200, 300, (10, 20, 18)).astype("i2")
    write_series(tmp_path / "study", volume, axes=axes)
    model, out = run(), tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's advice on the name of a person who is called p1
        assert predict(model, tmp_path / "study", "--output", out, "--format", "dicom-seg") == 0
    case = open_case(tmp_path / "study")
    geometry = case.extras["geometry"]
    how = {"patch": (16, 16, 16), "overlap": 0.25, "device": "cpu"}
    expected = geometry.as_filed(dsnotes.to_label(dsnotes.predict(load_run(str(model)), STEPS[0](case), **how)))
    found = pydicom.dcmread(out / "study.dcm")
    names = {one.SegmentLabel: one for one in found.SegmentSequence}
    assert set(names) <= {"kidney", "big tumour"}
    if "kidney" in names:
        code = names["kidney"].SegmentedPropertyTypeCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("64033007", "SCT", "Kidney")
    for name, mask in read_masks(out / "study.dcm", geometry).items():
        np.testing.assert_array_equal(mask, expected == {"kidney": 1, "big tumour": 2}[name])


def test_itk_reads_a_dicom_seg_at_its_place(tmp_path):
    from dsnotes.data.dicom_seg import save_dicom_seg

    write_series(tmp_path / "study", np.zeros((6, 12, 10), "i2"), axes=OBLIQUE)
    case = open_case(tmp_path / "study")
    label = np.zeros(case.space, "u1")
    label[2:4, 3:6, 1:4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save_dicom_seg(
            tmp_path / "a.dcm", label, case, tmp_path / "study", labels={0: "background", 1: "spleen"}, model="unet-2d"
        )
    series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "study")))
    segments = sitk.ReadImage(str(path))
    filed = np.argwhere(case.extras["geometry"].as_filed(label))[:, ::-1]  # x first
    there = np.argwhere(sitk.GetArrayFromImage(segments) > 0)[:, ::-1]
    mm = [series.TransformIndexToPhysicalPoint(tuple(map(int, at))) for at in filed]
    own = [segments.TransformIndexToPhysicalPoint(tuple(map(int, at))) for at in there]
    np.testing.assert_allclose(sorted(own), sorted(mm), atol=1e-3)


def refused(capsys, *arguments) -> str:
    assert predict(*arguments) == 2
    return capsys.readouterr().err


def test_what_does_not_fit_is_refused_before_anything_is_written(run, scan, tmp_path, capsys):
    model, path, out = run(), scan(), tmp_path / "out"
    assert "none of" in refused(capsys, path, "--output", out)
    assert "no scan came" in refused(capsys, model, "--output", out)
    assert "there is no" in refused(capsys, model, tmp_path / "nothing.nii.gz", "--output", out)
    two = run(5, in_channels=2, channels=("T1", "T2"))
    assert "other channels" in refused(capsys, model, two, path, "--output", out)
    named = run(6, labels={0: "background", 1: "liver", 2: "tumour"})
    assert "other labels" in refused(capsys, model, named, path, "--output", out)
    begun = run(7, result=False)
    (begun / "begun.json").write_text('{"started": "2026"}')
    assert "has not finished" in refused(capsys, begun, path, "--output", out)
    assert "needs folders of DICOM" in refused(capsys, model, path, "--output", out, "--format", "dicom-seg")
    said = refused(capsys, two, path, "--output", out)
    assert "new.nii.gz has 1 channel, the run takes 2" in said
    assert "new_0000, new_0001" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("roi", {"window": {"roi": (16, 32, 32)}}),
        ("slices", {"preprocessing": (Preprocess(slices=(2, 9)),)}),
        ("positive", {"preprocessing": (Preprocess(positive_slices=True),)}),
        ("size", {"preprocessing": (Preprocess(size=(32, 32)),)}),
    ],
)
def test_a_run_that_saw_parts_of_images_is_refused(run, scan, tmp_path, capsys, name, changed):
    """A whole scan would get an answer that nobody has tested."""
    model, path, out = run(**changed), scan(), tmp_path / "out"
    said = refused(capsys, model, path, "--output", out)
    assert f"was trained with {name}=" in said
    assert "Train it without" in said
    assert not out.exists()
    with pytest.raises(ValueError, match=f"a part of each image \\({name}\\)"):
        dsnotes.predict(load_run(str(model)), path, device="cpu")


def test_a_run_that_chose_a_channel_takes_it_of_the_new_scan(run, scan, tmp_path, capsys):
    """Of files of their own and of one file; a scan with fewer channels is refused."""
    model, out = run(preprocessing=(Preprocess(channels=(1,)), *STEPS)), tmp_path / "out"
    one, other = scan("p_0000.nii.gz"), scan("p_0001.nii.gz", seed=1)
    assert predict(model, one, other, "--output", out) == 0
    how = {"patch": (16, 16, 16), "overlap": 0.25, "device": "cpu"}
    expected = dsnotes.to_label(dsnotes.predict(load_run(str(model)), STEPS[0](open_case(other)), **how))
    np.testing.assert_array_equal(open_case(other, out / "p.nii.gz").label, expected)
    assert "has 1 channel, the run takes 2 or more" in refused(capsys, model, one, "--output", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_output_folder_with_other_predictions(run, scan, tmp_path, capsys):
    path, out = scan(), tmp_path / "out"
    assert predict(run(0), path, "--output", out) == 0
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert "predictions of other runs or other settings" in refused(capsys, run(1), path, "--output", out)
    assert "other settings" in refused(capsys, run(0, name="again"), path, "--output", out, "--mirror")
    assert {file: file.read_bytes() for file in out.iterdir()} == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "label.nii.gz").write_bytes(b"")
    assert "holds other files (label.nii.gz)" in refused(capsys, run(0, name="b"), path, "--output", tmp_path / "full")


def test_a_scan_that_cannot_be_read_is_left_out_and_the_others_are_done(run, scan, tmp_path, capsys):
    good = scan("good.nii.gz")
    (good.parent / "bad.nii.gz").write_bytes(b"x")
    assert predict(run(), good.parent / "bad.nii.gz", good, "--output", tmp_path / "out") == 1
    assert "bad is left out" in capsys.readouterr().err
    assert (tmp_path / "out" / "good.nii.gz").is_file()


def test_a_run_that_trained_a_teacher_is_loaded_with_it(tmp_path):
    """DSNet cannot be built again without its teacher, which the run has kept beside it."""
    cases = phantoms.nodules(2, seed=0, size=(32, 32))
    how = {"patch": (32, 32), "batch": 2, "iterations": 1, "progress": False, "device": "cpu"}
    teacher, _ = dsnet.train_teacher(
        cases, width=4, blocks=1, scale=2, epochs=(1, 1), out=tmp_path / "run" / "teacher", **how
    )
    system = dsnotes.build("dsnet-sdrfm", width=4, teacher=teacher)
    dsnotes.fit(system, cases, epochs=1, out=tmp_path / "run" / "training", **how)
    (tmp_path / "run" / "result.json").write_text("{}")
    loaded = load_run(str(tmp_path / "run"))
    np.testing.assert_array_equal(dsnotes.predict(loaded, cases[0]), dsnotes.predict(system, cases[0], device="cpu"))
