"""The changes of grey values against SciPy and nnU-Net's batchgeneratorsv2, and the augmentations by name."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dsnotes.data import augment, grey_values
from dsnotes.data.augment import Augmentation
from dsnotes.data.augmentations import DEFAULT, MSS, NAMED, NNUNET, augmentation_of
from dsnotes.data.case import Case
from dsnotes.data.patches import forced_share
from dsnotes.data.preprocess import Preprocess
from dsnotes.training.settings import Settings

OFF = Augmentation(**{each.name: 0 for each in fields(Augmentation) if each.name.startswith("p_")})
NAMES = ("noise", "blur", "brightness", "shift", "contrast", "low_resolution", "inverted_gamma")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def image_of(*space, channels=2, batch=1):
    return torch.randn(batch, channels, *space, generator=generator(3), dtype=torch.float64)


def drawn_with(space, batch=1, **values):
    drawn = augment.draw(OFF, batch=batch, space=space, generator=generator())
    chosen = {name: torch.full((batch,), value, dtype=torch.float64) for name, value in values.items()}
    return drawn._replace(grey=drawn.grey._replace(**chosen))


@pytest.mark.parametrize("space", [(20, 25), (9, 12, 11)])
def test_blur_is_scipys_gaussian_with_the_border_left_out(space):
    image = image_of(*space)
    found, *_ = augment.apply(drawn_with(space, blur=0.9), image)
    how = {"sigma": 0.9, "mode": "constant", "truncate": 4.0, "axes": tuple(range(2, image.ndim))}
    expected = gaussian_filter(image.numpy(), **how) / gaussian_filter(np.ones(image.shape), **how)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_contrast_and_brightness_are_nnu_nets(factor):
    transforms = pytest.importorskip("batchgeneratorsv2.transforms.intensity.contrast")
    brightness = pytest.importorskip("batchgeneratorsv2.transforms.intensity.brightness")
    image = image_of(8, 9)
    same = {"synchronize_channels": True, "p_per_channel": 1}
    contrast = transforms.ContrastTransform((factor, factor), preserve_range=True, **same)
    found, *_ = augment.apply(drawn_with((8, 9), contrast=factor), image)
    torch.testing.assert_close(found[0], contrast(image=image[0].clone())["image"])
    multiplied = brightness.MultiplicativeBrightnessTransform((factor, factor), **same)
    found, *_ = augment.apply(drawn_with((8, 9), brightness=factor), image)
    torch.testing.assert_close(found[0], multiplied(image=image[0].clone())["image"])


def test_low_resolution_reads_every_second_voxel_and_interpolates():
    ramp = torch.arange(8.0, dtype=torch.float64).expand(1, 1, 8, 8)
    found, *_ = augment.apply(drawn_with((8, 8), low_resolution=0.5), ramp)
    # columns 1 3 5 7 are kept, at the centres 0.5 2.5 4.5 6.5: halfway between two of them is their mean
    expected = torch.tensor([1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0], dtype=torch.float64)
    torch.testing.assert_close(found[0, 0, 0], expected)
    assert torch.equal(grey_values.coarse(5, 5), torch.eye(5, dtype=torch.float64))


def test_noise_has_its_standard_deviation_and_is_the_same_again():
    image = torch.zeros(1, 1, 200, 200)
    drawn = drawn_with((200, 200), noise=0.25)
    found, again = (augment.apply(drawn, image)[0] for _ in range(2))
    assert torch.equal(found, again)
    assert found.std().item() == pytest.approx(0.25, rel=0.02)


def test_inverted_gamma_is_gamma_of_the_negative():
    image = image_of(8, 9)
    found, *_ = augment.apply(drawn_with((8, 9), inverted_gamma=1.3), image)
    torch.testing.assert_close(found[0], -grey_values.gamma(-image[0], 1.3))
    torch.testing.assert_close(found.mean((2, 3)), image.mean((2, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_a_probability_changes_its_own_samples_and_no_label(name):
    only = replace(OFF, **{f"p_{name}": 0.5})
    drawn = augment.draw(only, batch=64, space=(6, 7), generator=generator(1))
    image, label = image_of(6, 7, batch=64), torch.ones(64, 6, 7, dtype=torch.int64)
    found, kept, _ = augment.apply(drawn, image, label)
    changed = (found != image).flatten(1).any(1)
    assert torch.equal(kept, label)
    assert not (changed & ~drawn.grey.changed()).any()
    assert 15 < changed.sum() < 49
    others = augment.draw(replace(only, p_gamma=1), batch=64, space=(6, 7), generator=generator(1))
    assert all(torch.equal(a, b) for a, b in zip(drawn.grey, others.grey, strict=True))


def test_blur_is_even_in_millimetres():
    drawn = augment.draw(OFF, batch=1, space=(8, 40, 40), generator=generator(), spacing=(4.0, 1.0, 1.0))
    assert drawn.finest == (0.25, 1.0, 1.0)


def test_names_and_what_true_means():
    assert augmentation_of(True, 2) is DEFAULT
    assert augmentation_of(False, 2) is None
    assert augmentation_of("mss", 3) is MSS
    assert augmentation_of("nnu-net", 3) is NNUNET
    assert augmentation_of("nnu-net", 2).rotation[0] == 180
    assert augmentation_of(OFF, 3) is OFF
    with pytest.raises(ValueError, match="'nnu-net'"):
        Settings(augment="nnunet")
    assert all(Settings(augment=name) for name in NAMED)


def test_the_default_mirrors_nothing_unless_asked():
    off_centre = torch.zeros(1, 1, 9, 9)
    off_centre[..., 1] = 1
    plain = replace(DEFAULT, **{each.name: 0 for each in fields(DEFAULT) if each.name.startswith("p_")})
    still = replace(plain, p_mirror=1)
    drawn = augment.draw(still, batch=1, space=(9, 9), generator=generator())
    assert torch.equal(augment.apply(drawn, off_centre)[0], off_centre)
    asked = augment.draw(replace(still, mirror=(1,)), batch=1, space=(9, 9), generator=generator())
    assert torch.equal(augment.apply(asked, off_centre)[0], off_centre.flip(-1))


@pytest.mark.parametrize(("field", "value"), [("low_resolution", (0.5, 2)), ("shift", (1, -1)), ("noise", (-1, 1))])
def test_a_wrong_range_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Augmentation(**{field: value})


def test_each_slice_of_a_stack_is_scaled_by_itself():
    rng = np.random.default_rng(0)
    image = np.stack([rng.normal(10 * n, n, (8, 9)) for n in (1, 2, 3)]).astype(np.float32)
    case = Case("stack", image, np.zeros(image.shape, np.uint8), (8.0, 1.0, 1.0))
    found = Preprocess(normalise="slice")(case).image
    np.testing.assert_allclose(found.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2)), 1, atol=1e-5)
    plane = Case("plane", image[1], np.zeros(image.shape[1:], np.uint8), (1.0, 1.0))
    np.testing.assert_allclose(Preprocess(normalise="slice")(plane).image, found[1], atol=1e-6)


@pytest.mark.parametrize(("side", "share"), [(20, 0.0), (2, 1 / 3)])
def test_foreground_is_forced_only_where_random_patches_miss_it(side, share):
    label = np.zeros((64, 64), np.uint8)
    label[20 : 20 + side, 20 : 20 + side] = 1
    cases = [Case(f"case{n}", label.astype(np.float32), label, (1.0, 1.0)) for n in range(3)]
    assert forced_share(cases, (16, 16)) == share
