"""Memories of compressed image tiles, against what was put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.memory.images import SIDE, TILES_PER_DRAW, ImageMemory, ImageMemorySettings
from nerfcl.scenes.scene import Views
from support.pictures import noise
from support.scenes import numbered_views


def noisy_views(first: int, count: int, width: int = 20, height: int = 12) -> Views:
    """Views number `first` and on, with random pixels."""
    images = np.stack([noise(height, width, first + i) for i in range(count)])
    views = numbered_views(count, first=first, width=width, height=height)
    return replace(views, images=torch.from_numpy(images))


def image_memory(capacity: int | None, seed: int = 0) -> ImageMemory:
    return ImageMemory(ImageMemorySettings(capacity), torch.Generator().manual_seed(seed))


def views_kept(memory: ImageMemory) -> list[int]:
    """The view's number of every tile held."""
    state = memory.state_dict()
    return state["poses"][state["frames"].long()][:, 0, 3].long().tolist()


@pytest.mark.parametrize(("width", "height"), [(20, 12), (SIDE, SIDE), (150, 70)])
def test_what_is_drawn_is_what_was_stored(width: int, height: int) -> None:
    views = noisy_views(0, 3, width, height)
    memory = image_memory(None)
    memory.fill(views)
    assert len(memory) == 3 * -(-width // SIDE) * -(-height // SIDE)
    seen = set()
    for _ in range(20):
        drawn = memory.draw(200)
        assert len(drawn) == 200
        assert drawn.new == 0
        number = drawn.poses[:, 0, 3].long()
        stored = views.images[number, drawn.rows, drawn.columns].float() / 255.0
        assert torch.equal(drawn.colours, stored)
        assert torch.equal(drawn.intrinsics, views.intrinsics[number])
        assert torch.equal(drawn.poses, views.poses[number])
        seen |= set(zip(number.tolist(), (drawn.rows // SIDE).tolist(), (drawn.columns // SIDE).tolist(), strict=True))
    assert len(seen) == len(memory), "every tile is drawn"


def test_draws_reach_every_pixel_equally_often() -> None:
    views = noisy_views(0, 2, 6, 5)
    memory = image_memory(None)
    memory.fill(views)
    counts = torch.zeros(2, 5, 6)
    for _ in range(600):
        drawn = memory.draw(20)
        counts.index_put_((drawn.poses[:, 0, 3].long(), drawn.rows, drawn.columns), torch.ones(20), accumulate=True)
    expected = 600 * 20 / 60
    squares = float(((counts - expected) ** 2 / expected).sum())
    assert squares < 60 + 5 * 120**0.5
    assert counts.sum() == 600 * 20


def test_the_bytes_never_exceed_the_capacity_and_are_used() -> None:
    memory = image_memory(6000)
    for first in range(0, 60, 4):
        memory.fill(noisy_views(first, 4))
        assert memory.nbytes <= 6000
    tile = 20 * 12 * 3 + 100  # noise cannot be compressed: about its own size, its place and its camera
    assert memory.nbytes > 6000 - 2 * tile
    assert memory.offered == 60
    assert memory.metrics() == {"tiles_kept": float(len(memory)), "frames_kept": float(len(set(views_kept(memory))))}


def test_what_is_held_is_a_uniform_sample_of_everything_offered() -> None:
    # About ten of 40 tiles are held; when a tile came must not matter.
    counts = np.zeros(40)
    held = 0
    for seed in range(150):
        memory = image_memory(10_000, seed)
        for first, count in ((0, 2), (2, 14), (16, 4), (20, 20)):
            memory.fill(noisy_views(first, count))
        views = views_kept(memory)
        assert len(set(views)) == len(views) == len(memory)
        counts[views] += 1
        held += len(views)
    fraction = held / (150 * 40)
    assert 0.15 < fraction < 0.5
    for part in (slice(0, 2), slice(2, 16), slice(16, 20), slice(20, 40)):
        size = len(counts[part])
        deviation = (fraction * (1 - fraction) / (150 * size)) ** 0.5
        assert abs(counts[part].mean() / 150 - fraction) < 4.5 * deviation


def test_plain_pictures_take_a_fraction_of_the_bytes_of_their_rays() -> None:
    views = noisy_views(0, 10, SIDE, SIDE)
    views.images[:, :, : SIDE // 2] = 255
    views.images[:, :, SIDE // 2 :] = torch.arange(SIDE, dtype=torch.uint8)[:, None, None]
    memory = image_memory(None)
    memory.fill(views)
    assert memory.nbytes < 10 * SIDE * SIDE * 11 / 50


def test_few_tiles_and_few_pixels_can_be_drawn() -> None:
    memory = image_memory(None)
    memory.fill(noisy_views(0, 1))
    assert len(memory.draw(50)) == 50
    memory.fill(noisy_views(1, 2 * TILES_PER_DRAW))
    assert len(memory.draw(3)) == 3


def test_a_saved_memory_goes_on_exactly() -> None:
    memory, twin = image_memory(9000, 3), image_memory(9000, 4)
    memory.fill(noisy_views(0, 20))
    memory.draw(30)
    twin.load_state_dict(memory.state_dict())
    assert twin.nbytes == memory.nbytes
    for first in (20, 30):
        for _ in range(5):
            a, b = memory.draw(40), twin.draw(40)
            assert torch.equal(a.colours, b.colours)
            assert torch.equal(a.poses, b.poses)
        memory.fill(noisy_views(first, 10))
        twin.fill(noisy_views(first, 10))
        assert views_kept(memory) == views_kept(twin)


def test_a_capacity_below_a_tile_keeps_nothing_and_none_below_one_byte_is_refused() -> None:
    memory = image_memory(50)
    memory.fill(noisy_views(0, 3))
    assert len(memory) == memory.nbytes == 0
    assert memory.metrics() == {"tiles_kept": 0.0, "frames_kept": 0.0}
    with pytest.raises(NerfclError, match="bytes=0: must be at least 1"):
        ImageMemorySettings(0)
