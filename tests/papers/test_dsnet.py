"""DSNet by name: the chain of Table 3, its teacher from training to use, learning on nodules, the tables as printed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest
import SimpleITK as sitk
import torch
import yaml

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.networks.srgan import reduced
from dsnotes.papers import build, dsnet, systems
from dsnotes.runs.results_io import STARTED_FROM
from dsnotes.softmask import soft_mask, trimap_from_mask
from dsnotes.supervision import loss_terms
from dsnotes.training import checkpoints
from dsnotes.training.adversarial_step import CachedTeacherAdversarialStep, CachedTeacherStep
from dsnotes.training.step import PlainStep

QUIET = {"progress": False, "device": "cpu", "amp": False}
WINDOW = hu_window(-1000, 400)
TINY = {"width": 4, "blocks": 1, "scale": 2}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def nodules():
    cases = [WINDOW(case) for case in phantoms.nodules(6, seed=1)]
    return [replace(c, extras={"soft": soft_mask(c.image, trimap_from_mask(c.label, 3), eps=1e-2)}) for c in cases]


@pytest.fixture(scope="module")
def teacher(nodules, tmp_path_factory):
    """Both phases, on crops whose labels nobody looks at."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("teacher")
    how = {"patch": (32, 32), "batch": 4, "lr": 3e-3, "iterations": 20}
    system, histories = dsnet.train_teacher(nodules[:4], nodules[4:], epochs=(3, 1), out=out, **TINY, **how, **QUIET)
    return system, histories, out


def test_the_teacher_learns_what_interpolation_lacks(teacher, nodules):
    system, (squares, adversarial), _ = teacher
    image = torch.from_numpy(nodules[5].image)[None, None]
    made = system.network.eval()(image).logits
    plain = torch.nn.functional.interpolate(reduced(image, 2), scale_factor=2, mode="bicubic")
    assert (made - image).square().mean() < 0.98 * (plain - image).square().mean()
    assert squares["val_loss"][-1] < squares["val_loss"][0]
    assert squares.columns[-2:] == ["val_loss_squares", "seconds"]
    assert squares["val_score"][-1] == -squares["val_loss"][-1], "there is nothing to overlap with"
    assert {"score real", "score fake", "adversarial"} <= set(adversarial.columns)


def test_the_teachers_training_goes_on_where_it_was(teacher, nodules):
    _, (squares, adversarial), out = teacher
    how = {"patch": (32, 32), "batch": 4, "lr": 3e-3, "iterations": 20}
    _, again = dsnet.train_teacher(nodules[:4], nodules[4:], epochs=(3, 2), out=out, **TINY, **how, **QUIET)
    assert again[0].records == squares.records
    assert again[1].records[:1] == adversarial.records


@pytest.mark.parametrize("where", ["system", "checkpoint.pt"])
def test_dsnet_takes_the_teacher_frozen(teacher, where):
    system, _, out = teacher
    given = system if where == "system" else out / "squares" / where
    net = build("dsnet", width=4, teacher=given).network.backbone
    own = net.teacher.generator
    assert (own.width, own.blocks, own.scale, net.scale, net.stride) == (4, 1, 2, 2, (8, 8))
    assert not any(p.requires_grad for p in net.teacher.parameters())
    if where == "system":
        trained = system.network.backbone.generator
        torch.testing.assert_close(own.state_dict(), trained.state_dict(), rtol=0, atol=0)
        own.output.weight.add_(1)
        assert not torch.equal(own.output.weight, trained.output.weight), "a copy: each may go on by itself"


@pytest.mark.parametrize("name", ["dsnet-sr", "dsnet"])
def test_a_teacher_that_was_not_trained_is_warned_of_when_training_begins(name, nodules, tmp_path):
    """Building and loading are silent: weights of a trained teacher may be loaded yet."""
    system = build(name, width=4, scale=2)
    told = rf"{name} has an untrained teacher: .* Train one .*build\('{name}', teacher=teacher\)\."
    how = {"patch": (16, 16), "epochs": 2, "iterations": 1, "out": tmp_path, **QUIET}
    with pytest.warns(RuntimeWarning, match=told) as warned:
        first = dsnotes.fit(system, nodules[:1], on_epoch=lambda history: True, **how)
    assert len(warned) == 1
    again = dsnotes.fit(build(name, width=4, scale=2), nodules[:1], **how)  # silent: it was said
    assert (len(first), len(again)) == (1, 2)
    for history in (first, again):
        assert sum("an untrained teacher" in note for note in history.notes) == 1


def test_weights_that_were_loaded_are_a_teacher_too(nodules):
    system, trained = (build("dsnet-sr", width=4, scale=2) for _ in range(2))
    torch.nn.init.normal_(trained.network.backbone.teacher.generator.output.weight)
    system.network.load_state_dict(trained.network.state_dict())
    history = dsnotes.fit(system, nodules[:1], patch=(16, 16), epochs=1, iterations=1, **QUIET)
    assert not any("teacher" in note for note in history.notes)


def ct_without_labels(folder: Path) -> None:
    """As data_scripts/deeplesion.py leaves them."""
    (folder / "imagesTr").mkdir(parents=True)
    cases = phantoms.nodules(3, seed=2)
    for number, case in enumerate(cases):
        image = sitk.GetImageFromArray(case.image.round().astype("int16"))
        sitk.WriteImage(image, str(folder / "imagesTr" / f"00000{number}_01_01_001-1.nii.gz"))
    listed = [{"image": f"./imagesTr/00000{number}_01_01_001-1.nii.gz"} for number in range(len(cases))]
    about = {"name": "DeepLesion", "labels": {"0": "background", "1": "lesion"}, "modality": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(about | {"training": listed}))


def built_by_the_experiment(**given):
    """The system that notebook 80 builds: its parameters, its imports and the cell that reads `teacher`, as written."""
    code = [cell for cell in jupytext.read(ROOT / "notebooks/80_experiment.py").cells if cell.cell_type == "code"]
    (system,) = (cell.source for cell in code if '"checkpoint" in teacher' in cell.source)
    values: dict = {}
    for source in (*(cell.source for cell in code[:2]), system):
        exec(source, values)
        values |= given
    return values["built"]


def test_a_sweeps_header_makes_the_teacher_that_dsnet_starts_from(nodules, tmp_path, monkeypatch):
    """On CT without labels, 512 pixels from 128; then frozen. The sweep's own words are run, at a small size."""
    header = (ROOT / "sweeps" / "dsnet-1.yml").read_text(encoding="utf-8").partition("notebook:")[0]
    (command,), (option,) = re.findall(r'python -c "(.+?)"', header), re.findall(r"-p teacher='(.+?)'", header)
    (folder,) = re.findall(r"deeplesion\.py --out (\S+)", header)
    ct_without_labels(tmp_path / folder)
    small = {"epochs": (1, 1), "width": 4, "blocks": 1, "patch": (32, 32), "batch": 2, "iterations": 2, **QUIET}
    trained, train = [], dsnet.train_teacher
    monkeypatch.setattr(dsnet, "train_teacher", lambda *args, **how: trained.append(train(*args, **how, **small)[0]))
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    monkeypatch.chdir(ROOT / "notebooks")  # a notebook runs in its own folder
    monkeypatch.setenv(STARTED_FROM, str(tmp_path))
    run = {"system": "dsnet", "recipe": "dsnet", "width": 4, "teacher": yaml.safe_load(option)}
    built = built_by_the_experiment(**run, train=nodules, classes=2, joined={"regions": {}})
    taught = built.network.backbone.teacher.generator
    expected = trained[0].network.backbone.generator.state_dict()
    torch.testing.assert_close(taught.state_dict(), expected, rtol=0, atol=0)
    assert (taught.scale, built.network.backbone.scale) == (4, 4)
    history = dsnotes.fit(built, nodules[:1], patch=(16, 16), epochs=1, iterations=2, **QUIET)
    assert not any("untrained teacher" in note for note in history.notes)
    torch.testing.assert_close(taught.state_dict(), expected, rtol=0, atol=0)


def test_a_file_that_is_no_teacher_is_answered(tmp_path):
    weights = {"network": {"weight": torch.zeros(1)}}
    checkpoints.write(tmp_path / "other.pt", lambda file: torch.save(weights, file), kept=0, sealed=True)
    with pytest.raises(ValueError, match=r"no super-resolution generator \(weight, …\). Pass the"):
        build("dsnet", width=2, teacher=tmp_path / "other.pt")


def test_a_teacher_has_nothing_to_label(teacher, nodules):
    with pytest.raises(ValueError, match=r"'srgan' .*no probabilities.* system.network\(image\)\.logits"):
        dsnotes.predict(teacher[0], nodules[0])


def test_the_chain_of_table_3(teacher):
    """Each row adds one thing: what is seen, then the soft mask, then the critic."""
    rows = {
        name: build(name, width=4, **({} if name == "dsnet-backbone" else {"teacher": teacher[0]}))
        for name in dsnet.CHAIN
    }
    assert list(rows) == list(dsnet.TABLES[3].rows)[1:]
    seen = [system.network.backbone.fusion for system in rows.values()]
    assert seen == ["interpolated", "super-resolved", "edrfm", "sdrfm", "sdrfm", "sdrfm"]
    b = {
        "image": torch.randn(2, 1, 16, 16),
        "label": torch.randint(0, 2, (2, 16, 16)),
        "soft": torch.rand(2, 1, 16, 16),
    }
    terms = [list(loss_terms(system.objective, system.network, b)) for system in rows.values()]
    assert terms == [["dice"]] * 4 + [["dice", "soft"], ["dice", "soft"]]
    kinds = [type(system.make_step(system, system.settings)) for system in rows.values()]
    assert kinds == [PlainStep, *[CachedTeacherStep] * 4, CachedTeacherAdversarialStep]


def test_options_reach_what_they_name(teacher):
    system = build(
        "dsnet", width=4, teacher=teacher[0], critic_lr=1e-5, critic_width=6, saturating=True, memory=0, fused=3
    )
    step = system.make_step(system, system.settings)
    assert step.optimisers["critic"].param_groups[0]["lr"] == 2e-4, "until the schedule sets both"
    step.set_lr(1e-4)
    assert step.optimisers["critic"].param_groups[0]["lr"] == pytest.approx(5e-6)
    assert not step.cache.open
    assert step.critic[0].out_channels == 6
    assert system.objective.saturating
    assert system.network.backbone.encoder[0].body[0][0].in_channels == 3
    with pytest.raises(TypeError, match="dsnet-backbone has no option teacher. Its options: scale"):
        build("dsnet-backbone", teacher=teacher[0])


def test_it_learns_a_nodule_and_deploys_on_the_images_own_grid(teacher, nodules):
    torch.manual_seed(0)
    system = build("dsnet", width=4, teacher=teacher[0], critic_width=8)
    case = nodules[0]
    how = {"epochs": 3, "iterations": 25, "batch": 1, "lr": 1e-2}
    history = dsnotes.fit(system, [case], **how, **QUIET)
    assert history["soft"][-1] < 0.5 * history["soft"][0]
    p = dsnotes.predict(system, case)
    assert p.shape == (1, 64, 64)
    assert dsnotes.score(dsnotes.to_label(p), case.label, spacing=case.spacing)["dice"] > 0.8


def test_the_settings_are_the_papers():
    s = dsnet.SETTINGS
    assert (s.lr, s.batch, s.epochs, s.schedule, s.optimiser, s.patch) == (2e-4, 1, 60, "poly", "adam", (64, 64))
    goal = build("dsnet-backbone", width=2).objective
    assert (goal.dice, dsnet.CHAIN["dsnet"][1:]) == (0.5, (100.0, 1.0))


def test_every_row_that_is_a_system_says_so():
    for number, table in dsnet.TABLES.items():
        assert set(table.rows) & set(systems()) == set(systems(f"dsnet-{number}")), number


def test_the_tables_are_whole_and_hold_the_slips_they_name():
    assert list(dsnet.TABLES) == [1, 2, 3, 4, 5]
    for table in dsnet.TABLES.values():
        assert all(len(row) == len(table.columns) for row in table.rows.values())
        assert table.starred in table.rows
    lnsm, readers = dsnet.TABLES[1].rows, dsnet.TABLES[4]
    assert lnsm["deeplabv3+"][::2] == lnsm["attention-unet"][::2]
    names = readers.columns
    for a in names:  # agreement has no direction
        for b in names:
            assert readers.rows[a][names.index(b)] == readers.rows[b][names.index(a)]
    ours = readers.rows["dsnet"]
    nearest = {
        d: max(v for v, n in zip(readers.rows[d], names, strict=True) if v and n in ("D1", "D2", "D3", "D4"))
        for d in ("D1", "D2", "D3", "D4")
    }
    assert [d for d in nearest if ours[names.index(d)] > nearest[d]] == ["D1", "D3"]
    for row, (one, two) in {"unet-2d": (1, 2), "dsnet": (1, 2)}.items():  # tables 1 and 2 come back in table 3
        assert dsnet.TABLES[3].rows[row][::2] == (dsnet.TABLES[one].rows[row][0], dsnet.TABLES[two].rows[row][0])


def test_the_backbone_alone_sees_the_image_as_it_is():
    """Table 3's "+ Improve Backbone" stands before "+ SR Input": nothing is enlarged yet. scale=4 interpolates."""
    image, seen = torch.randn(1, 1, 16, 16), []
    for options, size in (({}, 16), ({"scale": 4}, 64)):
        system = build("dsnet-backbone", width=2, **options)
        system.network.backbone.encoder[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        assert system.network.eval()(image).logits.shape == image.shape
        assert seen[-1].shape == (1, 1, size, size)
    assert torch.equal(seen[0], image)
