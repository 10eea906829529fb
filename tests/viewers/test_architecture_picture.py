"""The picture of a network: its channels, and every comparison beside the level it reads."""

from __future__ import annotations

import pytest
import torch

from dsnotes import build
from dsnotes.viewers.architecture import Comparison, SecondDecoder, architecture


def words(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.axes[0].texts]


def network(system: str, **options):
    with torch.device("meta"):
        return build(system, **options).network


def test_channels_and_strides_are_read_from_the_network():
    shown = words(architecture(network("mss-unet"), [Comparison("stride2", "a head", "a mask", "a loss")]))
    for channels in ("30", "60", "120", "240"):
        assert shown.count(channels) == 2  # encoder and decoder
    assert shown.count("320") == 3  # and the bottleneck
    assert {"full size", "stride 1·2·2", "stride 8·32·32", "a head", "a mask", "a loss"} <= set(shown)


def test_every_comparison_has_a_row_of_its_own():
    several = [Comparison("stride1", f"p{i}", f"t{i}", f"l{i}") for i in range(3)]
    picture = architecture(network("unet-2d"), [*several, Comparison("stride8", "p3", "t3", "l3")], skips="module")
    texts = picture.figure.axes[0].texts
    rows = {text.get_text(): text.get_position()[1] for text in texts if text.get_text()[0] == "p"}
    assert len({rows[f"p{i}"] for i in range(4)}) == 4
    assert words(picture).count("module") == 4
    assert "stride8: p3 with t3 by l3" in picture.alt


def test_a_second_decoder_is_drawn_with_its_channels():
    second = SecondDecoder("restoration", (8, 16, 32, 64))
    at = [Comparison("stride1", "mask", "y", "BCE"), Comparison("second", "image", "x", "BCE")]
    shown = words(architecture(network("drs-unet", width=4), at, second=second))
    assert shown.count("64") == 2  # the bottleneck of width 4, and the second decoder's deepest level
    assert "restoration" in shown


def test_an_unknown_level_is_an_error_that_lists_the_levels():
    with pytest.raises(ValueError, match="stride3.*stride1.*Use those"):
        architecture(network("unet-2d"), [Comparison("stride3", "a", "b", "c")])


def test_what_an_image_passes_before_the_encoder_is_drawn_and_told():
    picture = architecture(network("unet-2d"), [Comparison("stride1", "p", "t", "l")], front=["image: 1", "fusion: 64"])
    place = {text.get_text(): text.get_position() for text in picture.figure.axes[0].texts}
    assert place["image: 1"][0] < place["fusion: 64"][0]
    assert place["image: 1"][1] < place["encoder"][1]  # rows count downwards
    assert "through image: 1, then fusion: 64" in picture.alt


def test_several_outputs_of_the_second_decoder_start_at_its_box():
    second = SecondDecoder("restoration", (8, 16, 32, 64))
    at = [Comparison("stride1", "S", "y", "BCE"), Comparison("second", "R1", "x", "BCE")]
    picture = architecture(network("drs-unet", width=4), [*at, Comparison("second", "R2", "y", "BCE")], second=second)
    axes = picture.figure.axes[0]
    rows = {text.get_text(): text.get_position()[1] for text in axes.texts}
    starts = [line.get_ydata()[0] for line in axes.lines if line.get_ydata()[-1] in (rows["R1"], rows["R2"])]
    assert len(starts) == 2
    assert max(starts) - min(starts) < 0.3  # both leave the same box
