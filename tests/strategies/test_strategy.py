"""The colour losses that all strategies share, by hand, and how a step is divided between present and past."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.randomness import seeded
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import colour_losses, split_batch, squared_errors
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.stream import Stream
from strategies.parts import direction_model, rendering_of, some_pixels


def test_losses_of_new_and_old_pixels_by_hand(stream: Stream) -> None:
    pixels = pixels_at(stream[0].train, torch.arange(6))
    wrong = pixels.colours.clone()
    wrong[:4] += 0.1
    wrong[4:] += 0.2
    parts = colour_losses(wrong, dataclasses.replace(pixels, new=4))
    assert {name: part.item() for name, part in parts.items()} == pytest.approx({"new": 0.01, "replay": 0.02}, rel=1e-4)
    for new in (6, 0):  # the present only; the past only counts as new
        alone = colour_losses(wrong, dataclasses.replace(pixels, new=new))
        assert alone.keys() == {"new"}
        assert alone["new"].item() == pytest.approx((4 * 0.01 + 2 * 0.04) / 6, rel=1e-4)


def test_every_pixel_weighs_the_same_however_many_are_old(stream: Stream) -> None:
    new, old = some_pixels(stream[0].train, 4), some_pixels(stream[1].train, 12, 1)
    rgb = torch.rand(16, 3, generator=seeded(0, "rgb"))
    parts = colour_losses(rgb, new.with_past(old))
    errors = (rgb - torch.cat([new.colours, old.colours])).square().mean(-1)
    torch.testing.assert_close(parts["new"] + parts["replay"], 4.0 * errors.mean())  # four times: old ones, too


def test_three_parts_of_the_loss_by_hand(stream: Stream) -> None:
    pixels = pixels_at(stream[0].train, torch.arange(5))
    batch = dataclasses.replace(
        pixels,
        colours=torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.2, 0.4, 0.6]]),
        new=3,
        soft=torch.tensor([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [0.7, 1.0, 0.7]]),
    )
    rgb = torch.tensor([[0.1, 0.2, 0.2], [0.5, 0.5, 0.5], [1.0, 1.0, 0.7], [0.5, 0.5, 0.5], [0.2, 0.4, 0.0]])
    expected = {
        "new": (0.01 + 0.04 + 0.04 + 0.09) / 9,
        "replay": (0.25 * 3 + 0.36) / 9,  # two pixels: as weighty as two of the three new ones
        "distill": (0.0 + 0.01 + 0.01 + 0.09) / 9,
    }
    _, model = direction_model()
    parts = FineTune().loss(None, rendering_of(rgb), batch, model)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-5)
    both = FineTune().loss(None, rendering_of(rgb, coarse=rgb), batch, model)
    doubled = {name: 2 * value for name, value in expected.items()}
    assert {name: part.item() for name, part in both.items()} == pytest.approx(doubled, rel=1e-5)
    by_pixel = squared_errors(rgb, batch).tolist()
    assert by_pixel == pytest.approx([0.03, 0.0, 0.03, 0.25, 0.12], rel=1e-5, abs=1e-9)


@given(st.integers(1, 5000), st.floats(0.5, 1.0, exclude_max=True))
def test_a_step_has_twice_the_new_pixels_and_never_none_or_more_of_the_present(offered: int, fraction: float) -> None:
    present, past = split_batch(offered, fraction)
    assert present + past == 2 * offered
    assert 1 <= present <= offered
    assert abs(past - 2 * offered * fraction) <= 1.0
