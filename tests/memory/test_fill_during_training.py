"""Fill policies that take rays while an experience is learned, against a memory in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memory.ray_memories import Ray, check_plain, held, ray_memory, views_seen
from nerfcl.memory.fill import FILLS, Fill
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels, pixels_at
from support.scenes import numbered_views


class PlainMemory:
    """What `highest` and `lowest` shall do, ray by ray: the best `capacity` of what is held and what comes."""

    def __init__(self, capacity: int, sign: float) -> None:
        self.capacity, self.sign = capacity, sign
        self.losses: dict[Ray, float] = {}
        self.replaced = 0

    def offer(self, batch: dict[Ray, float]) -> None:
        self.losses.update({ray: loss for ray, loss in batch.items() if ray in self.losses})
        new = {ray: loss for ray, loss in batch.items() if ray not in self.losses}
        best = sorted({**self.losses, **new}.items(), key=lambda item: -self.sign * item[1])[: self.capacity]
        self.replaced = sum(ray not in dict(best) for ray in self.losses)
        self.losses = dict(best)


def distinct_losses(seed: int) -> Iterator[float]:
    """Different losses that bfloat16 holds exactly, in random order: no ties."""
    generator = torch.Generator().manual_seed(seed)
    values = [(1.0 + m / 128.0) * 2.0**e for e in range(-40, 1) for m in range(128)]
    yield from (values[i] for i in torch.randperm(len(values), generator=generator).tolist())


def batch_of(
    views: Views, first: int, places: list[int], losses: list[float], past: int
) -> tuple[Pixels, Tensor, dict[Ray, float]]:
    """The pixels at these places, followed by some of the past that must be left alone."""
    pixels = pixels_at(views, torch.tensor(places))
    if past:
        pixels = pixels.with_past(pixels_at(numbered_views(1, first=90), torch.arange(past)))
    rays = [(first + p // 16, p % 16 // 4, p % 4) for p in places]
    return pixels, torch.tensor([*losses, *[0.5] * past]), dict(zip(rays, losses, strict=True))


@pytest.mark.parametrize("fill", ["highest", "lowest"])
@given(st.integers(0, 10_000), st.integers(1, 60), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_highest_and_lowest_keep_what_a_plain_memory_keeps(
    fill: str, seed: int, capacity: int, experiences: list[int]
) -> None:
    rng, losses, first = np.random.default_rng(seed), distinct_losses(seed), 0
    memory, plain = ray_memory(capacity, seed, fill=fill), PlainMemory(capacity, 1.0 if fill == "highest" else -1.0)
    for count in experiences:
        views = numbered_views(count, first=first)
        memory.open(views)
        for _ in range(3):
            places = rng.choice(count * 16, rng.integers(1, 13), replace=False).tolist()
            pixels, errors, batch = batch_of(views, first, places, [next(losses) for _ in places], int(rng.integers(3)))
            memory.offer(pixels, errors)
            plain.offer(batch)
            assert len(memory) <= capacity
            assert dict(zip(held(memory), memory.losses.tolist(), strict=True)) == plain.losses
            assert memory.replaced == plain.replaced
        memory.fill(views)
        assert set(held(memory)) == set(plain.losses)
        assert len(memory.cameras) == len({view for view, _, _ in plain.losses}), "others have no ray"
        first += count


def test_highest_by_hand() -> None:
    memory, views = ray_memory(3, fill="highest"), numbered_views(1)
    memory.open(views)
    memory.offer(pixels_at(views, torch.tensor([0, 1, 2])), torch.tensor([0.5, 0.25, 0.75]))
    assert sorted(held(memory)) == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert memory.replaced == 0
    # 0 sinks below 1, so that 5 takes its place; 6 is too small.
    memory.offer(pixels_at(views, torch.tensor([5, 6, 0])), torch.tensor([1.0, 0.0625, 0.125]))
    losses = memory.losses.tolist()
    assert dict(zip(held(memory), losses, strict=True)) == {(0, 0, 1): 0.25, (0, 0, 2): 0.75, (0, 1, 1): 1.0}
    assert memory.metrics()["num_replacements"] == 1.0


def test_drawn_rays_have_the_cameras_and_colours_of_their_frames() -> None:
    memory = ray_memory(30, fill="highest", draw="weighted")
    for first in (0, 3):
        views = numbered_views(3, first=first)
        memory.open(views)
        memory.offer(pixels_at(views, torch.arange(48)), torch.rand(48, generator=torch.Generator().manual_seed(first)))
        views_seen(memory.draw(25))
        memory.fill(views)
    assert {view for view, _, _ in held(memory)} > {4, 5}


def test_colours_are_exact_to_every_one_of_256_levels() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    views = Views(images, torch.eye(4)[None], torch.ones(1, 4), ("",))
    memory = ray_memory(None, fill="lowest")
    memory.open(views)
    memory.offer(pixels_at(views, torch.arange(256)), torch.rand(256))
    state = memory.state_dict()
    assert torch.equal(state["colours"][:, 0].int(), state["pixels"])


class Newest(Fill):
    """The rays that came last."""

    during_training = True

    def select(self, losses: Tensor, capacity: int) -> Tensor:
        return torch.arange(len(losses) - capacity, len(losses))


def test_a_further_policy_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILLS, "newest", Newest())
    memory, views = ray_memory(5, fill="newest"), numbered_views(1)
    memory.open(views)
    check_plain(memory.settings, "replay:memory-rays=5,memory-fill=newest")
    for places in ([0, 1, 2], [3, 4, 5], [6, 7]):
        memory.offer(pixels_at(views, torch.tensor(places)), torch.zeros(len(places)))
    memory.fill(views)
    assert sorted(held(memory)) == [(0, 0, 3), (0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 1, 3)]
