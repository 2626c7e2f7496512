"""Batches of pixels, and where they come from."""

from __future__ import annotations

import torch

from memory.ray_memories import views_seen
from nerfcl.streams.pixels import pixels_at
from support.scenes import numbered_views


def test_pixels_at_are_row_major_and_keep_their_indices() -> None:
    indices = torch.tensor([29, 0, 4, 5, 9, 10, 5])
    pixels = pixels_at(numbered_views(3, first=7, width=5, height=2), indices)
    assert views_seen(pixels).tolist() == [9, 7, 7, 7, 7, 8, 7]
    assert list(zip(pixels.rows.tolist(), pixels.columns.tolist(), strict=True)) == [
        (1, 4), (0, 0), (0, 4), (1, 0), (1, 4), (0, 0), (1, 0),
    ]  # fmt: skip
    assert torch.equal(pixels.indices, indices)
    assert pixels.new == len(pixels) == 7
    assert pixels.soft is None


def test_pixels_of_the_past_follow_those_of_the_present() -> None:
    new = pixels_at(numbered_views(1, first=1), torch.tensor([3, 7]))
    past = pixels_at(numbered_views(1, first=2), torch.tensor([0, 5, 9]))
    both = new.with_past(past)
    assert (len(both), both.new) == (5, 2)
    assert both.indices.tolist() == [3, 7, 0, 5, 9]
    assert views_seen(both).tolist() == [1, 1, 2, 2, 2]
