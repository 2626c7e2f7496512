"""Draw policies: which of the stored rays are replayed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from memory.ray_memories import check_plain, levels, ray_memory, teacher_with, views_seen
from nerfcl.errors import NerfclError
from nerfcl.memory.draw import DRAWS, Draw
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from support.learning import same
from support.scenes import numbered_views


def fits(counts: np.ndarray, probabilities: np.ndarray) -> bool:
    """Chi-square, five standard deviations wide on either side."""
    expected = counts.sum() * probabilities / probabilities.sum()
    assert expected.min() > 5.0, "too few draws to tell"
    freedom = len(counts) - 1
    return abs(float(((counts - expected) ** 2 / expected).sum()) - freedom) < 5.0 * (2.0 * freedom) ** 0.5


@pytest.mark.parametrize("draw", DRAWS)
def test_more_rays_than_there_are_come_once_a_round(draw: str) -> None:
    losses = levels(16)
    for count in (16 * 3 + 5, 16 * 2):
        memory = ray_memory(None, draw=draw)
        memory.fill(numbered_views(1), teacher_with(losses))
        times = Counter(memory.draw(count).indices.tolist())
        rounds, rest = divmod(count, 16)
        assert sorted(times.values()) == [rounds] * (16 - rest) + [rounds + 1] * rest
        if draw == "topk":
            assert {place for place, n in times.items() if n > rounds} == set(losses.topk(rest).indices.tolist())


# --- random ---


def test_random_draws_are_uniform_over_what_is_held() -> None:
    memory = ray_memory(50, seed=9)
    memory.fill(numbered_views(20))
    pixels = memory.draw(50 * 400)
    _, counts = torch.unique(views_seen(pixels) * 16 + pixels.rows * 4 + pixels.columns, return_counts=True)
    assert len(counts) == 50
    assert float(((counts.double() - 400) ** 2 / 400).sum()) < 49 + 5 * (2 * 49) ** 0.5


def test_random_draws_show_every_ray_once_an_epoch() -> None:
    memory = ray_memory(30, seed=4)
    memory.fill(numbered_views(5))
    drawn = torch.cat([memory.draw(count).indices for count in (7, 20, 13, 30, 20)])
    for part in drawn.split(30):
        assert sorted(part.tolist()) == list(range(30))


# --- weighted ---


def test_weighted_draws_follow_the_losses() -> None:
    memory, losses = ray_memory(None, draw="weighted"), levels(16)
    memory.fill(numbered_views(1), teacher_with(losses))
    drawn = torch.stack([memory.draw(2).indices for _ in range(4000)]).numpy()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert fits(np.bincount(drawn[:, 0], minlength=16), losses.numpy())
    w = losses.double().numpy() / float(losses.sum())
    pairs = w[:, None] * w[None, :] / (1.0 - w[:, None])  # first, then second
    np.fill_diagonal(pairs, 0.0)
    assert fits(np.bincount(drawn[:, 1], minlength=16), pairs.sum(0))


def test_an_exploring_fraction_comes_uniformly_from_the_others() -> None:
    memory, losses = ray_memory(None, draw="weighted", exploration=0.25), torch.zeros(64)
    losses[:20] = 1.0
    memory.fill(numbered_views(4), teacher_with(losses))
    explored = []
    for _ in range(600):
        drawn = memory.draw(16).indices
        assert len(set(drawn.tolist())) == 16
        assert (drawn[:12] < 20).all(), "three quarters by weight"
        explored += drawn[12:].tolist()
    counts = np.bincount(explored, minlength=64)
    # 8 of the 20 heavy ones are left each time, each equally often; the 44 others are always left.
    assert fits(counts, np.array([4 * 8 / 52 / 20] * 20 + [4 / 52] * 44))


def centre_by_formula(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height))
    return np.exp(-(x**2 + y**2) / 2.0).ravel()


@pytest.mark.parametrize("fraction", [0.3, 0.8, 1.0])
def test_centre_weights_follow_the_formula(fraction: float) -> None:
    memory, losses = ray_memory(None, draw="weighted", centre_weight=fraction), levels(31)
    memory.fill(numbered_views(1, width=5, height=3), teacher_with(losses[:15]))
    memory.fill(numbered_views(1, first=1), teacher_with(losses[15:]))
    centre = np.concatenate([centre_by_formula(5, 3), centre_by_formula(4, 4)])
    expected = fraction * centre / centre.sum() + (1.0 - fraction) * losses.numpy() / float(losses.sum())
    weights = memory.weights().double().numpy()
    np.testing.assert_allclose(weights / weights.sum(), expected, rtol=5e-3 if fraction < 1.0 else 1e-6)
    counts = np.bincount(torch.cat([memory.draw(1).indices for _ in range(4000)]).numpy(), minlength=31)
    assert fits(counts, expected)


def test_centre_weights_alone_favour_the_middle_by_the_root_of_e() -> None:
    memory = ray_memory(None, draw="weighted", centre_weight=1.0)
    memory.fill(numbered_views(1, width=3, height=3), teacher_with(torch.zeros(9)))
    weights = memory.weights()
    assert float(weights[4] / weights[1]) == pytest.approx(np.e**0.5)  # the middle of an edge: distance 1
    assert float(weights[4] / weights[0]) == pytest.approx(np.e)  # a corner: distance root 2


# --- topk ---


def test_topk_draws_the_highest_losses_again_and_again() -> None:
    memory, losses = ray_memory(None, draw="topk"), levels(48)
    memory.fill(numbered_views(3), teacher_with(losses))
    highest = set(losses.topk(10).indices.tolist())
    for _ in range(3):
        pixels = memory.draw(10)
        assert set(pixels.indices.tolist()) == highest
        assert torch.equal(views_seen(pixels) * 16 + pixels.rows * 4 + pixels.columns, pixels.indices)


@pytest.mark.parametrize("draw", ["weighted", "topk"])
def test_new_losses_change_what_is_drawn_next(draw: str) -> None:
    memory = ray_memory(None, draw=draw)
    memory.fill(numbered_views(3), teacher_with(torch.cat([torch.ones(10), torch.zeros(38)])))
    assert set(memory.draw(10).indices.tolist()) == set(range(10))
    memory.set_losses(torch.arange(10), torch.zeros(10))
    memory.set_losses(torch.tensor([40, 3, 20]), torch.tensor([0.5, 0.25, 1.0]))
    assert set(memory.draw(3).indices.tolist()) == {3, 20, 40}
    assert [memory.losses[i].item() for i in (40, 3, 20)] == [0.5, 0.25, 1.0]
    assert float(memory.losses.sum()) == 1.75


# --- a further policy ---


class BestRendered(Draw):
    """The best rendered only."""

    needs_losses = True

    def draw(self, memory: RayMemory, count: int) -> Tensor:
        return memory.losses.argsort()[:count]


def test_a_further_policy_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NerfclError, match="draw='best': must be one of"):
        RayMemorySettings(draw="best")
    monkeypatch.setitem(DRAWS, "best", BestRendered())
    settings = RayMemorySettings(rays=None, draw="best")
    check_plain(settings, "replay:memory-rays=none,memory-draw=best")
    memory, twin = (RayMemory(settings, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    losses = levels(48, 5)
    memory.fill(numbered_views(3), teacher_with(losses))
    assert memory.nbytes == 48 * 13 + 3 * 76, "losses are kept"
    twin.load_state_dict(memory.state_dict())
    for each in (memory, twin):
        assert set(each.draw(7).indices.tolist()) == set((-losses).topk(7).indices.tolist())
    assert same(memory.state_dict(), twin.state_dict())
