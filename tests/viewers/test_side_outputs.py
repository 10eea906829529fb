"""Every depth's answer at its own size, and its film through training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes import viewers
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.shapes import Outputs
from dsnotes.viewers.side_outputs import probability_maps, side_outputs
from dsnotes.viewers.training_movie import TrainingMovie


def outputs_of_a_volume() -> Outputs:
    logits = torch.full((1, 2, 4, 8, 8), -3.0)
    logits[:, 0] = 3.0
    coarse = torch.zeros(1, 2, 2, 4, 4)
    coarse[:, 1, 1] = 2.0  # in the upper half the deep side sees something
    return Outputs(logits=logits, side_outputs={"stride2": coarse})


def test_a_slice_of_a_coarse_side_is_the_one_that_holds_the_slice():
    lower, upper = (probability_maps(outputs_of_a_volume(), at=at)["stride2"] for at in (1, 2))
    assert lower == pytest.approx(np.full((4, 4), 0.5))
    assert upper == pytest.approx(np.full((4, 4), 1 / (1 + np.exp(-2.0))), rel=1e-5)


def test_sides_stand_beside_the_mask_at_their_own_size():
    label = np.zeros((4, 8, 8), np.uint8)
    label[3, :4] = 1
    picture = side_outputs(outputs_of_a_volume(), label)
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert titles == ["output  (8 × 8)", "stride2  (4 × 4)", "truth  (8 × 8)"]
    assert picture.figure.axes[2].images[0].get_array().sum() == 32  # slice 3, which has the label


def test_raised_sides_get_a_row_of_their_own():
    torch.manual_seed(0)
    system = dsnotes.build("msds-unet", in_channels=1, classes=2, width=4)
    with torch.no_grad():
        outputs = system.network.eval()(torch.zeros(1, 1, 16, 16, 16))
    rows = [axes.get_ylabel() for axes in side_outputs(outputs).figure.axes if axes.get_ylabel()]
    assert rows == ["own size", "upsampled"]


def test_a_label_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"label has shape \(5, 5\), the output \(4, 8, 8\): pass the label of the patch"
    ):
        side_outputs(outputs_of_a_volume(), np.zeros((5, 5)))


def trained(path, epochs: int, **more):
    cases = phantoms.nodules(4, seed=0)
    torch.manual_seed(0)
    system = dsnotes.build(
        "mss-unet", in_channels=1, classes=2, width=4, dims=2, patch=(64, 64), spacing=(1.0, 1.0), halvings=2
    )
    film = TrainingMovie(system, cases[0], path, **more)
    dsnotes.fit(system, cases, patch=(32, 32), epochs=epochs, iterations=2, batch=2, on_epoch=film, progress=False)
    return film


def test_a_film_holds_every_epoch_in_a_small_file(tmp_path):
    seen = []
    film = trained(tmp_path / "films" / "one.npz", 3, then=lambda history: seen.append(len(history)))
    assert film.epochs == [1, 2, 3]
    assert seen == [1, 2, 3]
    assert set(film.frames) == {"output", "stride2"}  # the finest side is the output
    assert film.frames["output"].shape == (3, 64, 64)
    assert film.path.stat().st_size < 100_000
    with torch.no_grad():
        now = film.system.network.eval()(torch.from_numpy(film.case.image)[None, None])
    assert film.frames["output"][-1] / 255 == pytest.approx(probability_maps(now)["output"], abs=1 / 255)
    rows = [axes.get_ylabel() for axes in film.show().figure.axes if axes.get_ylabel()]
    assert rows == ["epoch 1", "epoch 2", "epoch 3"]


def test_a_film_goes_on_where_it_stopped_and_a_new_run_films_over_the_old(tmp_path):
    path = tmp_path / "film.npz"
    first = trained(path, 2)
    again = TrainingMovie(first.system, first.case, path)
    assert again.epochs == [1, 2]
    again([{"epoch": 3}])
    assert TrainingMovie(first.system, first.case, path).epochs == [1, 2, 3]
    again([{"epoch": 1}])
    assert again.epochs == [1]


def test_an_animation_is_a_small_gif_with_one_frame_per_epoch(tmp_path):
    from PIL import Image

    film = trained(None, 3)
    moving, shown = film.animate(path=tmp_path / "film.gif"), len(film.frames) + 1  # the truth as well
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 3
        assert abs(gif.width - 90 * min(9.6, 2.4 * shown)) <= 1  # of the page, for an inch: as every other picture
    assert len(moving.gif) < 200_000
    html = moving._repr_html_()
    assert 'src="data:image/gif;base64,' in html
    assert "epochs 1 to 3" in html


def test_filming_changes_nothing_in_the_training(tmp_path):
    film = trained(tmp_path / "film.npz", 2)
    torch.manual_seed(0)
    system = dsnotes.build(
        "mss-unet", in_channels=1, classes=2, width=4, dims=2, patch=(64, 64), spacing=(1.0, 1.0), halvings=2
    )
    cases = phantoms.nodules(4, seed=0)
    dsnotes.fit(system, cases, patch=(32, 32), epochs=2, iterations=2, batch=2, progress=False)
    for filmed, unfilmed in zip(film.system.network.parameters(), system.network.parameters(), strict=True):
        assert torch.equal(filmed, unfilmed)


def test_a_flat_network_is_filmed_on_the_busiest_slice_of_a_volume(tmp_path):
    case = phantoms.lung(1, seed=0)[0]
    torch.manual_seed(0)
    system = dsnotes.build("unet-2d", in_channels=1, classes=2, width=4)
    film = TrainingMovie(system, case, tmp_path / "film.npz")
    film([{"epoch": 1}])
    assert film.at == int((case.label > 0).sum((1, 2)).argmax())
    assert film.frames["output"].shape == (1, *case.space[1:])


def test_an_uneven_case_and_an_empty_film_are_answered(tmp_path):
    system = dsnotes.build("unet-2d", in_channels=1, classes=2, width=4)
    odd = Case("odd", np.zeros((30, 33), np.float32), None, (1.0, 1.0))
    with pytest.raises(ValueError, match=r"needs multiples of \(16, 16\), but 'odd' has \(30, 33\) \(30 is none\)"):
        TrainingMovie(system, odd, tmp_path / "f.npz")
    film = TrainingMovie(system, phantoms.nodules(1, seed=0)[0], tmp_path / "f.npz")
    with pytest.raises(ValueError, match="the film is empty: pass it to dsnotes.fit as on_epoch=film first"):
        film.show()


@pytest.mark.parametrize(
    ("old", "new"), [("Film", "TrainingMovie"), ("counted", "progress"), ("sides", "side_outputs")]
)
def test_a_name_of_the_release_before_still_works_and_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(viewers, old) is getattr(viewers, new)
