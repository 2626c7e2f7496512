from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.memory.rays import DRAWS, FILLS, STREAMING, MemorySettings, RayMemory, Recall, Recalled
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels, pixels_at


def views_from(first: int, count: int, width: int = 4, height: int = 4) -> Views:
    """Views number `first` and on: a pixel's colour is its (view, row, column), poses and intrinsics tell the view."""
    numbers = torch.arange(first, first + count)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    view = numbers[:, None, None].expand(-1, height, width)
    images = torch.stack([view, rows.expand_as(view), columns.expand_as(view)], -1).byte()
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3, :3] *= 1.0 + numbers[:, None, None] / 100.0
    poses[:, 0, 3] = numbers.float()
    poses[:, 1, 3] = -numbers.float()
    intrinsics = torch.stack([100.0 + numbers, 200.0 + numbers, 300.0 + numbers, 400.0 + numbers], -1)
    return Views(images, poses, intrinsics, tuple(f"v{i}" for i in numbers.tolist()))


def memory(capacity: int | None, seed: int = 0, **knobs: Any) -> RayMemory:
    return RayMemory(MemorySettings(capacity, **knobs), torch.Generator().manual_seed(seed))


def recall_of(losses: Tensor) -> Recall:
    """What recalls these losses by place, and colours whose red says the place."""

    def recall(indices: Tensor) -> Recalled:
        return Recalled(torch.stack([indices, indices * 0 + 7, indices * 0 + 9], -1).byte(), losses[indices])

    return recall


def levels(count: int, seed: int = 0) -> Tensor:
    """Different losses in random order that bfloat16 holds exactly, so that their order is plain."""
    assert count < 256
    return (torch.randperm(count, generator=torch.Generator().manual_seed(seed)) + 1) / 256.0


def held(full: RayMemory) -> list[tuple[int, int, int]]:
    """The (view, row, column) of every ray held."""
    return [tuple(colour) for colour in full.state_dict()["colours"].tolist()]


def check_pixels_against_their_views(pixels: Pixels) -> Tensor:
    """Every pixel has the pose, intrinsics and place of the view that its colour names; those views' numbers."""
    levels = pixels.colours * 255.0
    assert pixels.colours.dtype == torch.float32
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0.0)
    view, row, column = levels.round().long().unbind(-1)
    assert torch.equal(row, pixels.rows)
    assert torch.equal(column, pixels.columns)
    assert (pixels.columns.dtype, pixels.rows.dtype) == (torch.int64, torch.int64)
    assert torch.equal(pixels.poses, views_from(0, 60, 1, 1).poses[view])
    assert torch.equal(pixels.intrinsics, torch.stack([view + 100.0 * i for i in (1, 2, 3, 4)], -1))
    return view


def test_pixels_at_are_row_major() -> None:
    views = views_from(7, 3, width=5, height=2)
    pixels = pixels_at(views, torch.tensor([0, 4, 5, 9, 10, 29]))
    assert check_pixels_against_their_views(pixels).tolist() == [7, 7, 7, 7, 8, 9]
    assert list(zip(pixels.rows.tolist(), pixels.columns.tolist(), strict=True)) == [
        (0, 0), (0, 4), (1, 0), (1, 4), (0, 0), (1, 4),
    ]  # fmt: skip
    assert pixels.new == len(pixels) == 6


def test_pixels_at_remember_where_they_come_from() -> None:
    indices = torch.tensor([29, 3, 3, 0])
    pixels = pixels_at(views_from(7, 3, width=5, height=2), indices)
    assert pixels.indices.tolist() == [29, 3, 3, 0]
    assert pixels.soft is None


def test_pixels_of_the_past_follow_those_of_the_present() -> None:
    new, past = pixels_at(views_from(1, 1), torch.tensor([3, 7])), pixels_at(views_from(2, 1), torch.tensor([0, 5, 9]))
    both = new.with_past(past)
    assert (len(both), both.new) == (5, 2)
    assert both.indices.tolist() == [3, 7, 0, 5, 9]
    assert check_pixels_against_their_views(both).tolist() == [1, 1, 2, 2, 2]


@given(st.integers(1, 60), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 1000))
def test_capacity_is_never_exceeded_and_always_used(capacity: int, fills: list[int], seed: int) -> None:
    full = memory(capacity, seed)
    first = 0
    for count in fills:
        full.fill(views_from(first, count, width=3, height=2))
        first += count
        rays = held(full)
        assert len(full) == len(rays) == min(capacity, first * 6)
        assert len(set(rays)) == len(rays)  # no ray twice
        assert all(view < first and row < 2 and column < 3 for view, row, column in rays)


def test_unlimited_memory_keeps_everything() -> None:
    full = memory(None)
    full.fill(views_from(0, 2))
    full.fill(views_from(2, 3))
    everything = [(view, row, column) for view in range(5) for row in range(4) for column in range(4)]
    assert sorted(held(full)) == everything
    assert len(full) == 80


def test_capacity_as_large_as_what_is_offered_keeps_everything() -> None:
    full = memory(80)
    full.fill(views_from(0, 2))
    full.fill(views_from(2, 3))
    assert len(set(held(full))) == 80


def test_bytes_by_hand() -> None:
    full = memory(None)
    assert full.nbytes == 0
    full.fill(views_from(0, 3))
    # 48 rays of 4 + 4 + 3 bytes; 3 frames of a 3x4 pose and 4 intrinsics in float32, width, height and when it came in
    # int32.
    assert full.nbytes == 48 * 11 + 3 * (12 * 4 + 4 * 4 + 2 * 4 + 4)


@pytest.mark.parametrize(
    ("knobs", "each"),
    [
        ({"fill": "uniform"}, 11),
        ({"soft": True}, 11),
        ({"fill": "topk"}, 13),
        ({"draw": "weighted", "soft": True}, 13),
        ({"draw": "topk"}, 13),
    ],
)
def test_losses_take_two_bytes_a_ray_where_they_are_needed(knobs: dict[str, Any], each: int) -> None:
    full = memory(None, **knobs)
    full.fill(views_from(0, 3), recall_of(levels(48)))
    full.draw(5)
    assert full.nbytes == 48 * each + 3 * 76


def test_frames_without_a_ray_are_not_kept() -> None:
    full = memory(1)
    full.fill(views_from(0, 6))
    full.fill(views_from(6, 6))
    assert full.nbytes == 11 + 76
    check_pixels_against_their_views(full.draw(4))
    few = memory(5, seed=4)
    few.fill(views_from(0, 30))
    frames = {view for view, _, _ in held(few)}
    assert few.nbytes == 5 * 11 + len(frames) * 76


@pytest.mark.parametrize("capacity", [None, 37, 3])
def test_drawn_rays_are_those_of_the_source_views(capacity: int | None) -> None:
    full = memory(capacity, seed=2)
    for first, count in ((0, 3), (3, 1), (4, 5)):
        full.fill(views_from(first, count, width=5, height=3))
        pixels = full.draw(200)
        assert (len(pixels), pixels.new) == (200, 0)
        view = check_pixels_against_their_views(pixels)
        drawn = set(zip(view.tolist(), pixels.rows.tolist(), pixels.columns.tolist(), strict=True))
        assert drawn <= set(held(full))


def test_colours_are_exact_to_the_image() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 16, 16, 3), generator=rng, dtype=torch.uint8)
    full = memory(None)
    full.fill(Views(images, torch.eye(4).repeat(2, 1, 1), torch.tensor([[1.0, 1, 1, 1], [2.0, 2, 2, 2]]), ("a", "b")))
    pixels = full.draw(2000)
    view = pixels.intrinsics[:, 0].long() - 1
    assert torch.equal(pixels.colours, images[view, pixels.rows, pixels.columns].float() / 255.0)


def test_every_ray_ever_offered_is_held_with_equal_probability() -> None:
    # 80, 160 and 240 rays are offered to a memory of 60: each stays with probability 1/8.
    runs, counts = 400, torch.zeros(30 * 16)
    for seed in range(runs):
        full = memory(60, seed)
        for first, count in ((0, 5), (5, 10), (15, 15)):
            full.fill(views_from(first, count))
        number = torch.tensor([view * 16 + row * 4 + column for view, row, column in held(full)])
        counts += torch.bincount(number, minlength=480)
    expected, variance = runs / 8, runs / 8 * 7 / 8
    assert abs(float(counts.mean()) - expected) < 1e-4
    squares = float(((counts - expected) ** 2 / variance).sum())
    assert 480 - 5 * (2 * 480) ** 0.5 < squares < 480 + 5 * (2 * 480) ** 0.5
    for part in (counts[:80], counts[80:240], counts[240:]):
        assert abs(float(part.mean()) - expected) < 5 * (variance / len(part)) ** 0.5


def test_draws_are_uniform_over_what_is_held() -> None:
    full = memory(50, seed=9)
    full.fill(views_from(0, 20))
    pixels = full.draw(50 * 400)
    view = check_pixels_against_their_views(pixels)
    _, counts = torch.unique(view * 16 + pixels.rows * 4 + pixels.columns, return_counts=True)
    assert len(counts) == 50
    assert float(((counts.double() - 400) ** 2 / 400).sum()) < 49 + 5 * (2 * 49) ** 0.5


def test_state_goes_on_exactly() -> None:
    straight = memory(40, seed=1)
    straight.fill(views_from(0, 4))
    straight.draw(10)
    resumed = memory(40, seed=77)
    saved = straight.state_dict()
    resumed.load_state_dict({name: part.clone() if isinstance(part, Tensor) else part for name, part in saved.items()})
    for full in (straight, resumed):
        full.fill(views_from(4, 3))
    assert straight.nbytes == resumed.nbytes
    assert held(straight) == held(resumed)
    first, second = straight.draw(100), resumed.draw(100)
    for part in ("poses", "intrinsics", "columns", "rows", "colours"):
        assert torch.equal(getattr(first, part), getattr(second, part))
    assert (resumed.fills, resumed.offered) == (2, 7 * 16)


def test_state_stays_as_it_was_when_the_memory_goes_on() -> None:
    full = memory(20)
    full.fill(views_from(0, 4))
    saved = full.state_dict()
    before = saved["colours"].clone()
    full.fill(views_from(4, 8))
    assert torch.equal(saved["colours"], before)
    assert len(saved["frames"]) == 20


def test_filling_leaves_the_views_alone() -> None:
    views = views_from(0, 3)
    images, poses = views.images.clone(), views.poses.clone()
    full = memory(None)
    full.fill(views)
    full.draw(5).colours.zero_()
    assert torch.equal(views.images, images)
    assert torch.equal(views.poses, poses)


# --- which rays are kept ---


def test_topk_keeps_exactly_the_highest_losses_of_each_share() -> None:
    full = memory(30, fill="topk")
    first, second = levels(80, 1), levels(80, 2)
    full.fill(views_from(0, 5), recall_of(first))
    places = [view * 16 + row * 4 + column for view, row, column in held(full)]
    assert sorted(places) == sorted(first.topk(30).indices.tolist())
    full.fill(views_from(5, 5), recall_of(second))
    expected = first.topk(15).indices.tolist() + (80 + second.topk(15).indices).tolist()
    places = [view * 16 + row * 4 + column for view, row, column in held(full)]
    assert sorted(places) == sorted(expected)
    check_pixels_against_their_views(full.draw(30))


def test_uniform_keeps_every_kth_ray_and_then_every_kth_of_those() -> None:
    full = memory(12, fill="uniform")
    full.fill(views_from(0, 3))
    assert [view * 16 + row * 4 + column for view, row, column in held(full)] == list(range(0, 48, 4))
    full.fill(views_from(3, 3))
    assert [view * 16 + row * 4 + column for view, row, column in held(full)] == list(range(0, 96, 8))
    odd = memory(5, fill="uniform")
    odd.fill(views_from(0, 1))
    assert [row * 4 + column for _, row, column in held(odd)] == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("knobs", [{"fill": "topk"}, {"draw": "weighted"}, {"draw": "topk"}])
def test_losses_are_stored_to_bfloat16_beside_their_rays(knobs: dict[str, Any]) -> None:
    full, losses = memory(20, **knobs), torch.rand(96, generator=torch.Generator().manual_seed(1))
    full.fill(views_from(0, 3), recall_of(losses[:48]))
    full.fill(views_from(3, 3), recall_of(losses[48:]))
    stored = full.state_dict()["losses"]
    assert stored.dtype == torch.bfloat16
    places = torch.tensor([view * 16 + row * 4 + column for view, row, column in held(full)])
    assert torch.equal(stored, losses[places].to(torch.bfloat16))
    assert (stored.float() / losses[places] - 1.0).abs().max() <= 2**-8


def test_only_what_is_kept_is_recalled_where_the_choice_needs_no_losses() -> None:
    asked: list[int] = []

    def recall(indices: Tensor) -> Recalled:
        asked.append(len(indices))
        return recall_of(levels(48))(indices)

    full = memory(10, draw="weighted")
    full.fill(views_from(0, 3), recall)
    full.fill(views_from(3, 3), recall)
    assert asked == [10, 5]
    plain = memory(10)
    plain.fill(views_from(0, 3), recall)
    assert asked == [10, 5], "a memory without losses and soft colours asks nothing"


@pytest.mark.parametrize("knobs", [{"fill": "topk"}, {"draw": "weighted"}, {"draw": "topk"}, {"soft": True}])
def test_a_memory_that_needs_the_model_says_so(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs to know"):
        memory(5, **knobs).fill(views_from(0, 1))


AT_THE_END = [fill for fill in FILLS if fill not in STREAMING]  # the others: test_memory_streams.py


@pytest.mark.parametrize("fill", AT_THE_END)
def test_soft_colours_are_stored_instead_of_the_true_ones(fill: str) -> None:
    full = memory(20, fill=fill, soft=True)
    full.fill(views_from(0, 3), recall_of(levels(48)))
    pixels = full.draw(20)
    place = (pixels.poses[:, 0, 3].long()) * 16 + pixels.rows * 4 + pixels.columns
    expected = torch.stack([place, torch.full_like(place, 7), torch.full_like(place, 9)], -1) / 255.0
    torch.testing.assert_close(pixels.colours, expected, atol=1e-6, rtol=0.0)


# --- which rays are drawn ---


def fits(counts: np.ndarray, probabilities: np.ndarray) -> bool:
    expected = counts.sum() * probabilities / probabilities.sum()
    assert expected.min() > 5.0, "too few draws to tell"
    freedom = len(counts) - 1
    return abs(float(((counts - expected) ** 2 / expected).sum()) - freedom) < 5.0 * (2.0 * freedom) ** 0.5


def test_weighted_draws_follow_the_losses() -> None:
    full, losses = memory(None, draw="weighted"), levels(16)
    full.fill(views_from(0, 1), recall_of(losses))
    drawn = torch.stack([full.draw(2).indices for _ in range(4000)]).numpy()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert fits(np.bincount(drawn[:, 0], minlength=16), losses.numpy())
    w = losses.double().numpy() / float(losses.sum())
    pairs = w[:, None] * w[None, :] / (1.0 - w[:, None])  # first, then second
    np.fill_diagonal(pairs, 0.0)
    assert fits(np.bincount(drawn[:, 1], minlength=16), pairs.sum(0))


def test_an_exploring_share_comes_uniformly_from_the_rest() -> None:
    full, losses = memory(None, draw="weighted", exploration=0.25), torch.zeros(64)
    losses[:20] = 1.0
    full.fill(views_from(0, 4), recall_of(losses))
    explored = []
    for _ in range(600):
        drawn = full.draw(16).indices
        assert len(set(drawn.tolist())) == 16
        assert (drawn[:12] < 20).all(), "three quarters by weight"
        explored += drawn[12:].tolist()
    counts = np.bincount(explored, minlength=64)
    # 8 of the 20 heavy ones are left each time, each equally often; the 44 others are always left.
    assert fits(counts, np.array([4 * 8 / 52 / 20] * 20 + [4 / 52] * 44))


def centre_by_formula(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height))
    return np.exp(-(x**2 + y**2) / 2.0).ravel()


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_centre_weights_follow_the_formula(share: float) -> None:
    full, losses = memory(None, draw="weighted", centre_weight=share), levels(31)
    full.fill(views_from(0, 1, width=5, height=3), recall_of(losses[:15]))
    full.fill(views_from(1, 1, width=4, height=4), recall_of(losses[15:]))
    centre = np.concatenate([centre_by_formula(5, 3), centre_by_formula(4, 4)])
    expected = share * centre / centre.sum() + (1.0 - share) * losses.numpy() / float(losses.sum())
    weights = full._weights().double().numpy()
    np.testing.assert_allclose(weights / weights.sum(), expected, rtol=5e-3 if share < 1.0 else 1e-6)
    counts = np.bincount(torch.cat([full.draw(1).indices for _ in range(4000)]).numpy(), minlength=31)
    assert fits(counts, expected)


def test_centre_weights_alone_favour_the_middle_by_the_root_of_e() -> None:
    full = memory(None, draw="weighted", centre_weight=1.0)
    full.fill(views_from(0, 1, width=3, height=3), recall_of(torch.zeros(9)))
    weights = full._weights()
    assert float(weights[4] / weights[1]) == pytest.approx(np.e**0.5)  # the middle of an edge: distance 1
    assert float(weights[4] / weights[0]) == pytest.approx(np.e)  # a corner: distance root 2


def test_topk_draws_the_highest_losses_again_and_again() -> None:
    full, losses = memory(None, draw="topk"), levels(48)
    full.fill(views_from(0, 3), recall_of(losses))
    highest = set(losses.topk(10).indices.tolist())
    for _ in range(3):
        pixels = full.draw(10)
        assert set(pixels.indices.tolist()) == highest
        view = check_pixels_against_their_views(pixels)
        assert torch.equal(view * 16 + pixels.rows * 4 + pixels.columns, pixels.indices)


@pytest.mark.parametrize("draw", ["weighted", "topk"])
def test_new_losses_change_what_is_drawn_next(draw: str) -> None:
    full = memory(None, draw=draw)
    full.fill(views_from(0, 3), recall_of(torch.cat([torch.ones(10), torch.zeros(38)])))
    assert set(full.draw(10).indices.tolist()) == set(range(10))
    full.set_losses(torch.arange(10), torch.zeros(10))
    full.set_losses(torch.tensor([40, 3, 20]), torch.tensor([0.5, 0.25, 1.0]))
    assert set(full.draw(3).indices.tolist()) == {3, 20, 40}
    stored = full.state_dict()["losses"]
    assert [stored[i].item() for i in (40, 3, 20)] == [0.5, 0.25, 1.0]
    assert float(stored.sum()) == 1.75


def test_new_losses_are_nothing_to_a_memory_without_losses() -> None:
    full = memory(10)
    full.fill(views_from(0, 3))
    before = full.nbytes
    full.set_losses(torch.tensor([0, 3]), torch.tensor([1.0, 1.0]))
    assert full.nbytes == before
    full.draw(5)


@pytest.mark.parametrize("draw", DRAWS)
def test_more_rays_than_there_are_come_once_a_round(draw: str) -> None:
    full, losses = memory(None, draw=draw), levels(16)
    full.fill(views_from(0, 1), recall_of(losses))
    counts = Counter(full.draw(16 * 3 + 5).indices.tolist())
    assert sorted(counts.values()) == [3] * 11 + [4] * 5
    if draw == "topk":
        assert {place for place, count in counts.items() if count == 4} == set(losses.topk(5).indices.tolist())
    assert sorted(memory_after(draw).draw(32).indices.tolist()) == sorted([*range(16)] * 2)


def memory_after(draw: str) -> RayMemory:
    full = memory(None, draw=draw)
    full.fill(views_from(0, 1), recall_of(levels(16)))
    return full


def test_random_draws_show_every_ray_once_a_pass() -> None:
    full = memory(30, seed=4)
    full.fill(views_from(0, 5))
    drawn = torch.cat([full.draw(count).indices for count in (7, 20, 13, 30, 20)])
    for part in drawn.split(30):
        assert sorted(part.tolist()) == list(range(30))


ALL_KNOBS = [
    {"fill": fill, "draw": draw, "soft": soft, **more}
    for fill, draw, soft in itertools.product(AT_THE_END, DRAWS, (False, True))
    for more in ([{}, {"exploration": 0.5, "centre_weight": 0.25}] if draw == "weighted" else [{}])
]


@pytest.mark.parametrize("knobs", ALL_KNOBS, ids=lambda knobs: "-".join(map(str, knobs.values())))
def test_every_combination_keeps_to_its_capacity_and_goes_on_exactly_from_its_state(knobs: dict[str, Any]) -> None:
    straight, resumed = memory(40, 1, **knobs), memory(40, 77, **knobs)
    for first, count in ((0, 2), (2, 4), (6, 3)):
        straight.fill(views_from(first, count), recall_of(levels(count * 16, first)))
        assert len(straight) == min(40, straight.offered)
        straight.draw(7)
        straight.set_losses(torch.arange(5), torch.linspace(0.1, 0.9, 5))
    saved = straight.state_dict()
    frozen = {name: part.clone() if isinstance(part, Tensor) else part for name, part in saved.items()}
    resumed.load_state_dict(saved)
    runs = []
    for full in (straight, resumed):
        drawn = [full.draw(9)]
        full.set_losses(drawn[0].indices, torch.linspace(0.9, 0.2, 9))
        drawn.append(full.draw(45))
        full.fill(views_from(9, 2), recall_of(levels(32, 9)))
        drawn.append(full.draw(20))
        runs.append((full.nbytes, held(full), drawn))
    assert runs[0][:2] == runs[1][:2]
    for a, b in zip(runs[0][2], runs[1][2], strict=True):
        for part in ("poses", "intrinsics", "columns", "rows", "colours", "indices"):
            assert torch.equal(getattr(a, part), getattr(b, part))
    for name, part in saved.items():
        same = torch.equal(part, frozen[name]) if isinstance(part, Tensor) else part == frozen[name]
        assert same, f"{name}: a saved state stays as it was, whoever goes on from it"


def test_state_within_a_pass_goes_on_exactly() -> None:
    straight, resumed = memory(30, seed=3), memory(30, seed=5)
    straight.fill(views_from(0, 5))
    begun = straight.draw(11).indices
    resumed.load_state_dict(straight.state_dict())
    rest = straight.draw(19).indices
    assert sorted(torch.cat([begun, rest]).tolist()) == list(range(30))
    assert torch.equal(resumed.draw(19).indices, rest)
    assert torch.equal(straight.draw(65).indices, resumed.draw(65).indices)


@pytest.mark.parametrize(
    ("knobs", "option"),
    [
        ({"fill": "best"}, "--memory-fill best"),
        ({"draw": "best"}, "--memory-draw best"),
        ({"draw": "weighted", "exploration": -0.1}, "--exploration -0.1"),
        ({"draw": "weighted", "exploration": float("nan")}, "--exploration nan"),
        ({"draw": "weighted", "centre_weight": 1.5}, "--centre-weight 1.5"),
        ({"exploration": 0.5}, "--memory-draw weighted"),
        ({"draw": "topk", "centre_weight": 0.5}, "--memory-draw weighted"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(knobs: dict[str, Any], option: str) -> None:
    with pytest.raises(NerfclError, match=option):
        MemorySettings(**knobs)
