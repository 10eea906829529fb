"""Augmentation against SciPy's interpolation, batchgeneratorsv2's gamma, and what must not change at all."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from dsnotes.data import augment, warp
from dsnotes.data.augment import Augmentation, apply, draw

OFF = Augmentation(p_rotation=0, p_scale=0, p_elastic=0, p_gamma=0, p_mirror=0)
ON = Augmentation(p_rotation=1, p_scale=1, p_elastic=1, p_gamma=1, p_mirror=1, alpha=(400, 900), sigma=(4, 6))
SPACES = {2: (20, 25), 3: (12, 20, 17)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(space, batch=2, channels=2, classes=4, dtype=torch.float32):
    """Images, blocky labels with `classes` values, soft masks."""
    g = generator(7)
    image = torch.randn(batch, channels, *space, generator=g, dtype=dtype)
    blocks = torch.randint(0, classes, (batch, *(math.ceil(n / 4) for n in space)), generator=g)
    for axis, n in enumerate(space, 1):
        blocks = blocks.repeat_interleave(4, axis).narrow(axis, 0, n)
    return image, blocks, torch.rand(batch, 1, *space, generator=g, dtype=dtype)


def displacement(drawn, b):
    """The elastic displacement in voxels as a plain sum of Gaussians; (n, *space)."""
    dims = len(drawn.space)
    weights = []
    for axis, n in enumerate(drawn.space):
        count = drawn.noise.shape[1 + axis]
        x = np.arange(n)[:, None] - (n - 1) / 2
        points = (np.arange(count) - (count - 1) / 2)[None] * drawn.step[axis]
        w = np.exp(-((x - points) ** 2) / (2 * drawn.sigma[b, axis].item() ** 2))
        weights.append(w / np.sqrt((w**2).sum(1, keepdims=True)))
    formula = {2: "ai,bj,ijn->nab", 3: "ai,bj,ck,ijkn->nabc"}[dims]
    field = np.einsum(formula, *weights, drawn.noise[b].numpy())
    return field * drawn.amplitude[b].numpy().reshape(-1, *[1] * dims)


def read_from(drawn, b):
    """Where each output voxel is read: matrix · (x - centre) + displacement + centre, then mirrored; (n, *space)."""
    centre = (np.array(drawn.space) - 1) / 2
    x = np.stack(np.meshgrid(*[np.arange(n) for n in drawn.space], indexing="ij"), -1) - centre
    at = np.moveaxis(x @ drawn.matrix[b].numpy().T + centre, -1, 0) + displacement(drawn, b)
    return np.flip(at, [1 + a for a in np.flatnonzero(drawn.mirror[b].numpy())])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("p_mirror", [0, 1])
@pytest.mark.parametrize(("p_elastic", "classes"), [(0, 4), (1, 4), (1, 2)])
def test_image_label_and_soft_mask_are_scipys_linear_interpolation(dims, p_mirror, p_elastic, classes):
    image, label, soft = batch_of(SPACES[dims], dtype=torch.float64, classes=classes)
    drawn = draw(
        replace(ON, p_gamma=0, p_mirror=p_mirror, p_elastic=p_elastic),
        batch=2,
        space=SPACES[dims],
        generator=generator(),
    )
    new_image, new_label, new_soft = apply(drawn, image, label, soft)
    for b in range(2):
        at = read_from(drawn, b)

        def read(x, at=at):
            return map_coordinates(np.asarray(x, dtype=float), at, order=1, mode="nearest")

        for c in range(2):
            np.testing.assert_allclose(new_image[b, c], read(image[b, c]), atol=1e-9)
        np.testing.assert_allclose(new_soft[b, 0], read(soft[b, 0]), atol=1e-9)
        shares = np.stack([read(label[b] == c) for c in range(classes)])
        clear = np.sort(shares, 0)[-1] - np.sort(shares, 0)[-2] > 1e-9  # ties may fall either way
        np.testing.assert_array_equal(new_label[b].numpy()[clear], shares.argmax(0)[clear])
        assert clear.mean() > 0.9


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_right_angle_is_rot90(axis, plane):
    image, label, _ = batch_of((16, 16, 16))
    angles = torch.zeros(2, 3, dtype=torch.float64)
    angles[:, axis] = math.pi / 2
    drawn = draw(OFF, batch=2, space=(16, 16, 16), generator=generator())
    new_image, new_label, _ = apply(drawn._replace(matrix=augment._rotation(angles, 3)), image, label)
    assert torch.equal(new_label, label.rot90(-1, [1 + a for a in plane]))
    torch.testing.assert_close(new_image, image.rot90(-1, [2 + a for a in plane]), atol=1e-4, rtol=0)


def test_rotation_and_deformation_are_even_in_millimetres():
    """diag(s) M diag(1/s) is a rotation times the scale; displacements are as large in mm along each axis."""
    s = torch.tensor([5.0, 0.8, 0.7], dtype=torch.float64)
    drawn = draw(ON, batch=4, space=(12, 40, 40), generator=generator(), spacing=s.tolist())
    physical = s[:, None] * drawn.matrix / s
    square = physical.mT @ physical
    torch.testing.assert_close(square, square[:, :1, :1] * torch.eye(3, dtype=torch.float64))
    for length in (drawn.amplitude, drawn.sigma):
        torch.testing.assert_close(length * s, (length * s)[:, 2:].expand(-1, 3))
    cubes = draw(ON, batch=4, space=(12, 40, 40), generator=generator())
    torch.testing.assert_close(drawn.amplitude[:, 2], cubes.amplitude[:, 2])


def test_a_disc_in_millimetres_stays_a_disc():
    rows, columns = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(64.0) - 31.5, indexing="ij")
    disc = torch.exp(-((rows * 2) ** 2 + columns**2) / 200)[None, None]
    turn = replace(OFF, p_rotation=1, rotation=(45.0, 0.0, 0.0))
    kept = draw(turn, batch=1, space=(32, 64), generator=generator(), spacing=(2.0, 1.0))
    sheared = draw(turn, batch=1, space=(32, 64), generator=generator())
    assert (apply(kept, disc)[0] - disc).abs().max() < 0.02
    assert (apply(sheared, disc)[0] - disc).abs().max() > 0.1


@pytest.mark.parametrize(
    "nothing",
    [
        OFF,
        replace(OFF, rotation=(0, 0, 0), p_rotation=1, scale=(1, 1), p_scale=1, alpha=(0, 0), p_elastic=1),
        replace(OFF, gamma=(1, 1), p_gamma=1),
        replace(OFF, mirror=(), p_mirror=1),
    ],
)
def test_identity_parameters_return_the_input_bit_for_bit(nothing, monkeypatch):
    monkeypatch.setattr(warp, "_sample", None)
    given = batch_of((9, 10, 11))
    drawn = draw(nothing, batch=2, space=(9, 10, 11), generator=generator())
    for x, y in zip(given, apply(drawn, *given), strict=True):
        assert torch.equal(x, y)


def test_whole_batches_left_alone_are_not_even_copied():
    image, label, _ = batch_of((8, 8))
    drawn = draw(OFF, batch=2, space=(8, 8), generator=generator())
    new_image, new_label, nothing = apply(drawn, image, label)
    assert new_image is image
    assert new_label is label
    assert nothing is None


@pytest.mark.parametrize(("values", "channels"), [((0,), 1), ((1,), 2), ((0, 1), 2), ((0, 2, 7), 3), ((2, 7), 3)])
def test_a_patch_costs_one_channel_for_each_foreground_class_it_holds(values, channels, monkeypatch):
    shapes, sample = [], warp._sample
    monkeypatch.setattr(warp, "_sample", lambda x, grid: shapes.append(x.shape) or sample(x, grid))
    label = torch.tensor(values)[torch.arange(8 * 9) % len(values)].reshape(1, 8, 9)
    apply(draw(ON, batch=1, space=(8, 9), generator=generator()), torch.zeros(1, 1, 8, 9), label)
    assert shapes == [(channels, 8, 9)]


def test_only_samples_with_a_spatial_change_are_sampled_and_those_once(monkeypatch):
    calls, sample = [], warp._sample
    monkeypatch.setattr(warp, "_sample", lambda *a: calls.append(1) or sample(*a))
    given = batch_of((16, 16), batch=40)
    drawn = draw(
        replace(OFF, p_rotation=0.3, p_gamma=0.3, p_mirror=0.3), batch=40, space=(16, 16), generator=generator()
    )
    image, label, soft = apply(drawn, *given)
    turned = drawn.resampled
    assert 0 < turned.sum() == len(calls) < 40
    still = ~(turned | drawn.mirror.any(1) | (drawn.gamma != 1))
    assert still.any()
    for x, y in zip(given, (image, label, soft), strict=True):
        assert torch.equal(x[still], y[still])
    grey = still | ~turned & ~drawn.mirror.any(1)
    assert torch.equal(label[grey], given[1][grey])


def test_mirroring_is_a_flip_with_and_without_interpolation():
    given = batch_of((10, 12, 14))
    drawn = draw(replace(OFF, p_mirror=1, mirror=(0, 2)), batch=2, space=(10, 12, 14), generator=generator())
    assert drawn.mirror.tolist() == [[True, False, True]] * 2
    for x, y in zip(given, apply(drawn, *given), strict=True):
        assert torch.equal(y, x.flip([-3, -1]))
    drawn = draw(replace(ON, mirror=(0, 2)), batch=2, space=(10, 12, 14), generator=generator())
    straight = drawn._replace(mirror=torch.zeros_like(drawn.mirror))
    for x, y in zip(apply(straight, *given), apply(drawn, *given), strict=True):
        torch.testing.assert_close(y, x.flip([-3, -1]), atol=1e-5, rtol=0)


def test_gamma_is_batchgeneratorsv2s_that_keeps_mean_and_spread():
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform

    image = torch.randn(2, 3, 9, 10, generator=generator()) * 70 + 90
    drawn = draw(replace(OFF, p_gamma=1), batch=2, space=(9, 10), generator=generator())
    new = apply(drawn, image)[0]
    for b in range(2):
        theirs = GammaTransform((0.7, 1.5), 0, True, 1, 1)._apply_to_image(
            image[b].clone(),
            apply_to_channel=torch.arange(3),
            retain_stats=torch.ones(3, dtype=torch.bool),
            invert_image=torch.zeros(3, dtype=torch.bool),
            gamma=drawn.gamma[b].float().repeat(3),
        )
        torch.testing.assert_close(new[b], theirs, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(new.mean((2, 3)), image.mean((2, 3)))
    torch.testing.assert_close(new.std((2, 3)), image.std((2, 3)))


def test_gamma_leaves_a_constant_image_constant():
    drawn = draw(replace(OFF, p_gamma=1), batch=1, space=(8, 8), generator=generator())
    torch.testing.assert_close(apply(drawn, torch.full((1, 1, 8, 8), 3.0))[0], torch.full((1, 1, 8, 8), 3.0))


def test_displacements_are_as_large_as_simards():
    """Uniform noise in ±1, smoothed by a Gaussian of sigma, times alpha: what the paper's code does."""
    alpha, sigma = 900.0, 3.0
    noise = np.random.default_rng(0).uniform(-1, 1, (72,) * 3)
    theirs = alpha * gaussian_filter(noise, sigma, mode="wrap").std()
    drawn = draw(
        replace(OFF, p_elastic=1, alpha=(alpha, alpha), sigma=(sigma, sigma)),
        batch=1,
        space=(24,) * 3,
        generator=generator(),
    )
    assert drawn.amplitude[0].tolist() == pytest.approx([theirs] * 3, rel=0.05)


def test_displacements_vary_as_much_at_the_rim_as_inside_and_as_smoothly_as_sigma_says():
    """Smoothed white noise has the correlation exp(-r² / 4 sigma²)."""
    drawn = draw(replace(ON, sigma=(5, 5), alpha=(500, 500)), batch=600, space=(30, 20), generator=generator())
    fields = np.stack([displacement(drawn, b)[0] for b in range(600)]) / drawn.amplitude[0, 0].item()
    np.testing.assert_allclose(fields.std(0), 1, atol=0.13)
    assert drawn.noise.shape == (600, 6 + 5, 4 + 5, 2)
    for r in (2, 5, 10):
        together = np.mean(fields[:, :-r] * fields[:, r:]) / np.mean(fields**2)
        assert together == pytest.approx(math.exp(-(r**2) / 100), abs=0.03)


def test_a_deformation_finer_than_a_voxel_needs_no_finer_lattice():
    assert draw(replace(ON, sigma=(0.1, 0.2)), batch=1, space=(9, 9), generator=generator()).step == (1.0, 1.0)


def test_draws_fill_their_ranges_as_often_as_their_probabilities_say():
    drawn = draw(replace(Augmentation(), mirror=(1,)), batch=4000, space=(2, 2, 2), generator=generator())
    scale = drawn.matrix.det().abs() ** (1 / 3)
    turned = (drawn.matrix / scale[:, None, None] - torch.eye(3)).abs().flatten(1).amax(1) > 1e-9
    scaled = (scale - 1).abs() > 1e-9
    for share, p in (
        (turned, 0.2),
        (scaled, 0.2),
        (drawn.amplitude[:, 0] > 0, 0.2),
        (drawn.gamma != 1, 0.3),
        (drawn.mirror[:, 1], 0.5),
    ):
        assert share.double().mean().item() == pytest.approx(p, abs=0.03)
    assert not drawn.mirror[:, [0, 2]].any()
    for values, low, high in ((scale[scaled], 0.85, 1.25), (drawn.gamma[drawn.gamma != 1], 0.7, 1.5)):
        assert low <= values.min() < low + 0.02
        assert high - 0.02 < values.max() <= high
        assert (values < 1).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert 9 <= drawn.sigma.min() < drawn.sigma.max() <= 13
    in_plane = draw(replace(OFF, p_rotation=1), batch=2000, space=(4, 4), generator=generator()).matrix
    degrees = torch.atan2(in_plane[:, 1, 0], in_plane[:, 0, 0]).rad2deg()
    assert -15 <= degrees.min() < -14.9
    assert 14.9 < degrees.max() <= 15


@pytest.mark.parametrize(("given", "values"), [((1.0, 1.4), (1.0, 1.4)), ((0.6, 0.9), (0.6, 0.9))])
def test_a_range_on_one_side_of_one_stays_there(given, values):
    gamma = draw(replace(OFF, p_gamma=1, gamma=given), batch=300, space=(4, 4), generator=generator()).gamma
    assert values[0] <= gamma.min() < values[0] + 0.05
    assert values[1] - 0.05 < gamma.max() <= values[1]


def test_a_seed_decides_and_a_probability_leaves_the_other_parameters_alone():
    first, again = (draw(ON, batch=3, space=(8, 9), generator=generator(5)) for _ in range(2))
    for a, b in zip([*first[:-2], *first.grey], [*again[:-2], *again.grey], strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert first.finest == again.finest
    assert not torch.equal(first.noise, draw(ON, batch=3, space=(8, 9), generator=generator(6)).noise)
    without = draw(replace(ON, p_gamma=0, p_elastic=0), batch=3, space=(8, 9), generator=generator(5))
    assert torch.equal(first.matrix, without.matrix)
    assert torch.equal(first.noise, without.noise)
    assert (without.gamma == 1).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_same_parameters_do_the_same_in_float64_on_more_threads_and_under_autocast(dims):
    image, label, soft = batch_of(SPACES[dims])
    drawn = draw(ON, batch=2, space=SPACES[dims], generator=generator())
    single = apply(drawn, image, label, soft)
    double = apply(drawn, image.double(), label, soft.double())
    torch.testing.assert_close(single[0], double[0].float(), atol=2e-4, rtol=0)
    torch.testing.assert_close(single[2], double[2].float(), atol=2e-4, rtol=0)
    assert (single[1] != double[1]).float().mean() < 1e-3
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for x, y in zip(single, apply(drawn, image, label, soft), strict=True):
            torch.testing.assert_close(x, y, atol=1e-6, rtol=0)
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16):
        for x, y in zip(single, apply(drawn, image, label, soft), strict=True):
            assert torch.equal(x, y)


def test_a_batch_drawn_in_another_thread_leaves_the_weights_that_a_step_has_cast_to_bfloat16():
    """Autocast's cache is common to all threads; a second cast of a weight would change how its gradient is rounded."""
    weight, x = torch.ones(3, 3, requires_grad=True), torch.ones(3, 3)
    given, drawn = batch_of(SPACES[2]), draw(ON, batch=2, space=SPACES[2], generator=generator())
    with torch.autocast("cpu", torch.bfloat16), ThreadPoolExecutor(1) as pool:
        before = (x @ weight).grad_fn.next_functions[1][0]
        pool.submit(apply, drawn, *given).result()
        after = (x @ weight).grad_fn.next_functions[1][0]
    assert after is before
    assert "ToCopy" in before.name()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dims", [2, 3])
def test_a_gpu_replays_what_the_cpu_did(dims):
    given = batch_of(SPACES[dims])
    drawn = draw(ON, batch=2, space=SPACES[dims], generator=generator())
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")  # TF32, if it were let in, would move voxels
        there = apply(drawn, *(x.cuda() for x in given))
    finally:
        torch.set_float32_matmul_precision(precision)
    here = apply(drawn, *given)
    assert all(x.is_cuda for x in there)
    for k in (0, 2):
        torch.testing.assert_close(there[k].cpu(), here[k], atol=2e-4, rtol=0)
    assert (there[1].cpu() != here[1]).float().mean() < 1e-3


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64])
def test_types_stay_and_no_class_is_invented(kind):
    image, label, soft = batch_of((16, 18, 20), classes=3)
    label = torch.tensor([0, 2, 7])[label].to(kind)
    new_image, new_label, new_soft = apply(
        draw(ON, batch=2, space=(16, 18, 20), generator=generator()), image.bfloat16(), label, soft.half()
    )
    assert (new_image.dtype, new_label.dtype, new_soft.dtype) == (torch.bfloat16, kind, torch.float16)
    assert set(new_label.unique().tolist()) == {0, 2, 7}


@pytest.mark.parametrize("value", [0, 1, 3])
def test_a_label_of_one_class_keeps_it(value):
    image, label, _ = batch_of((12, 12))
    new = apply(draw(ON, batch=2, space=(12, 12), generator=generator()), image, torch.full_like(label, value))[1]
    assert (new == value).all()


def test_wrong_settings_are_answered_with_the_remedy():
    with pytest.raises(ValueError, match=r"p_gamma=1.5 is not a probability. Pass a number from 0 to 1"):
        Augmentation(p_gamma=1.5)
    with pytest.raises(ValueError, match=r"scale=\(1.25, 0.85\) is not a range.*set its probability to 0"):
        Augmentation(scale=(1.25, 0.85))
    with pytest.raises(ValueError, match=r"gamma=\(0.0, 1.5\) is not a range: needed is 0 < low"):
        Augmentation(gamma=(0.0, 1.5))
    with pytest.raises(ValueError, match=r"space=\(4,\) has 1 axes, needed are 2 or 3: pass space=image.shape\[2:\]"):
        draw(OFF, batch=1, space=(4,), generator=generator())
    with pytest.raises(ValueError, match=r"spacing=\(1.0, 0.0\) does not fit.*Pass case.spacing"):
        draw(OFF, batch=1, space=(4, 4), generator=generator(), spacing=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"mirror=\(2,\) names an axis that space=\(4, 4\) lacks.*mirror=None"):
        draw(replace(OFF, mirror=(2,)), batch=1, space=(4, 4), generator=generator())


def test_wrong_tensors_are_answered_with_the_remedy():
    drawn = draw(ON, batch=2, space=(8, 8), generator=generator())
    with pytest.raises(ValueError, match=r"image has batch and size \(2, 8, 9\).*drawn for \(2, 8, 8\).*=\(8, 9\)"):
        apply(drawn, torch.zeros(2, 1, 8, 9))
    with pytest.raises(ValueError, match=r"the label has batch and size \(1, 8, 8\).*Draw again.*batch=1"):
        augment._check(drawn, torch.zeros(2, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long), None)
    ignored = torch.zeros(2, 8, 8, dtype=torch.long)
    ignored[0, 0] = -1
    with pytest.raises(ValueError, match=r"the label holds -1.*start at 0.*label\[label < 0\] = 1"):
        apply(drawn, torch.zeros(2, 1, 8, 8), ignored)


class ElsewhereGenerator(torch.Generator):
    """What torch.Generator("cuda") is, on a machine without one."""

    device = torch.device("cuda")


def test_a_generator_on_a_gpu_is_refused():
    with pytest.raises(ValueError, match=r"generator is on cuda.*Pass torch.Generator\(\).manual_seed"):
        draw(OFF, batch=1, space=(4, 4), generator=ElsewhereGenerator())
