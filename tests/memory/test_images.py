"""Memories of compressed image tiles, against what was put in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.memory.images import SIDE, TILES_A_DRAW, TileMemory
from nerfcl.scenes.scene import Views


def noisy_views(first: int, count: int, width: int = 20, height: int = 12, seed: int = 0) -> Views:
    """Views number `first` and on: random pixels, a pose whose x is the view's number."""
    generator = torch.Generator().manual_seed(seed + first)
    images = torch.randint(256, (count, height, width, 3), generator=generator).byte()
    numbers = torch.arange(first, first + count)
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = numbers.float()
    intrinsics = torch.stack([100.0 + numbers, 200.0 + numbers, 300.0 + numbers, 400.0 + numbers], -1)
    return Views(images, poses, intrinsics, tuple(map(str, numbers.tolist())))


def memory(capacity: int | None, seed: int = 0) -> TileMemory:
    return TileMemory(capacity, torch.Generator().manual_seed(seed))


def kept_views(full: TileMemory) -> list[int]:
    """The view's number of every tile held."""
    state = full.state_dict()
    return state["poses"][state["frames"].long()][:, 0, 3].long().tolist()


@pytest.mark.parametrize(("width", "height"), [(20, 12), (SIDE, SIDE), (150, 70)])
def test_what_is_drawn_is_what_was_stored(width: int, height: int) -> None:
    views = noisy_views(0, 3, width, height)
    full = memory(None)
    full.fill(views)
    assert len(full) == 3 * -(-width // SIDE) * -(-height // SIDE)
    seen = set()
    for _ in range(20):
        drawn = full.draw(200)
        assert len(drawn) == 200
        assert drawn.new == 0
        number = drawn.poses[:, 0, 3].long()
        stored = views.images[number, drawn.rows, drawn.columns].float() / 255.0
        assert torch.equal(drawn.colours, stored)
        assert torch.equal(drawn.intrinsics, views.intrinsics[number])
        assert torch.equal(drawn.poses, views.poses[number])
        seen |= set(zip(number.tolist(), (drawn.rows // SIDE).tolist(), (drawn.columns // SIDE).tolist(), strict=True))
    assert len(seen) == len(full), "every tile is drawn"


def test_draws_reach_every_pixel_equally_often() -> None:
    views = noisy_views(0, 2, 6, 5)
    full = memory(None)
    full.fill(views)
    counts = torch.zeros(2, 5, 6)
    for _ in range(600):
        drawn = full.draw(20)
        counts.index_put_((drawn.poses[:, 0, 3].long(), drawn.rows, drawn.columns), torch.ones(20), accumulate=True)
    expected = 600 * 20 / 60
    squares = float(((counts - expected) ** 2 / expected).sum())
    assert squares < 60 + 5 * 120**0.5
    assert counts.sum() == 600 * 20


def test_the_bytes_never_exceed_the_capacity_and_are_used() -> None:
    full = memory(6000)
    for first in range(0, 60, 4):
        full.fill(noisy_views(first, 4))
        assert full.nbytes <= 6000
    tile = 20 * 12 * 3 + 100  # noise cannot be compressed: about its own size, its place and its camera
    assert full.nbytes > 6000 - 2 * tile
    assert full.offered == 60


def test_what_is_held_is_a_uniform_sample_of_everything_offered() -> None:
    # About ten of 40 tiles are held; when a tile came must not matter.
    counts = np.zeros(40)
    held = 0
    for seed in range(150):
        full = memory(10_000, seed)
        for first, count in ((0, 2), (2, 14), (16, 4), (20, 20)):
            full.fill(noisy_views(first, count))
        views = kept_views(full)
        assert len(set(views)) == len(views) == len(full)
        counts[views] += 1
        held += len(views)
    share = held / (150 * 40)
    assert 0.15 < share < 0.5
    for part in (slice(0, 2), slice(2, 16), slice(16, 20), slice(20, 40)):
        size = len(counts[part])
        deviation = (share * (1 - share) / (150 * size)) ** 0.5
        assert abs(counts[part].mean() / 150 - share) < 4.5 * deviation


def test_plain_pictures_take_a_fraction_of_the_bytes_of_their_rays() -> None:
    views = noisy_views(0, 10, SIDE, SIDE)
    views.images[:, :, : SIDE // 2] = 255
    views.images[:, :, SIDE // 2 :] = torch.arange(SIDE, dtype=torch.uint8)[:, None, None]
    full = memory(None)
    full.fill(views)
    assert full.nbytes < 10 * SIDE * SIDE * 11 / 50


def test_few_tiles_and_few_pixels_can_be_drawn() -> None:
    full = memory(None)
    full.fill(noisy_views(0, 1))
    assert len(full.draw(50)) == 50
    full.fill(noisy_views(1, 2 * TILES_A_DRAW))
    assert len(full.draw(3)) == 3


def test_a_saved_memory_goes_on_exactly() -> None:
    full, twin = memory(9000, 3), memory(9000, 4)
    full.fill(noisy_views(0, 20))
    full.draw(30)
    twin.load_state_dict(full.state_dict())
    assert twin.nbytes == full.nbytes
    for first in (20, 30):
        for _ in range(5):
            mine, theirs = full.draw(40), twin.draw(40)
            assert torch.equal(mine.colours, theirs.colours)
            assert torch.equal(mine.poses, theirs.poses)
        full.fill(noisy_views(first, 10))
        twin.fill(noisy_views(first, 10))
        assert kept_views(full) == kept_views(twin)


def test_a_capacity_below_a_tile_keeps_nothing_and_none_below_one_byte_is_refused() -> None:
    full = memory(50)
    full.fill(noisy_views(0, 3))
    assert len(full) == full.nbytes == 0
    with pytest.raises(NerfclError, match="--memory-bytes 0"):
        memory(0)
