"""Draws of positions, against exact probabilities and counts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.streams.sampling import EpochSampler, sample_by_weight, sample_others


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fits(counts: Sequence[float], probabilities: Sequence[float]) -> bool:
    """Chi-square, five deviations wide on either side: neither far off nor suspiciously near."""
    total, freedom = sum(counts), len(counts) - 1
    assert sum(probabilities) == pytest.approx(1.0)
    assert min(probabilities) * total > 5.0, "too few draws to tell"
    square = sum((n - total * p) ** 2 / (total * p) for n, p in zip(counts, probabilities, strict=True))
    return freedom - 5.0 * (2.0 * freedom) ** 0.5 < square < freedom + 5.0 * (2.0 * freedom) ** 0.5


def orders_of(weights: Sequence[float], count: int) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of `count` positions, one after the other without replacement."""
    return {
        order: prod(weights[k] / (sum(weights) - sum(weights[j] for j in order[:i])) for i, k in enumerate(order))
        for order in itertools.permutations(range(len(weights)), count)
    }


# --- epoch by epoch ---


@given(st.integers(1, 12), st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 1000))
def test_every_number_comes_once_an_epoch_however_it_is_asked_for(total: int, counts: list[int], seed: int) -> None:
    sampler, drawn = EpochSampler(total, seeded(seed)), []
    for count in counts:
        part = sampler.next(count)
        assert part.shape == (count,)
        assert part.dtype == torch.long
        drawn += part.tolist()
    for begin in range(0, len(drawn), total):
        one = drawn[begin : begin + total]
        assert len(set(one)) == len(one)
        assert set(one) <= set(range(total))


def test_what_is_drawn_does_not_depend_on_how_it_is_split_into_calls() -> None:
    at_once, bit_by_bit = EpochSampler(7, seeded(3)), EpochSampler(7, seeded(3))
    parts = torch.cat([bit_by_bit.next(count) for count in (1, 5, 2, 9, 7, 6)])
    assert at_once.next(30).tolist() == parts.tolist()


def test_all_orders_of_an_epoch_are_equally_likely_and_epochs_are_independent() -> None:
    sampler = EpochSampler(4, seeded(11))
    drawn = sampler.next(4 * 4800).view(-1, 4).tolist()
    counts = Counter(map(tuple, drawn))
    orders = list(itertools.permutations(range(4)))
    assert fits([counts[order] for order in orders], [1 / 24] * 24)
    repeated = sum(a == b for a, b in itertools.pairwise(drawn))
    assert abs(repeated - 4799 / 24) < 5 * (4799 / 24) ** 0.5, "the next order does not depend on the last"


@pytest.mark.parametrize("before", [0, 3, 10, 25])
def test_a_sampler_goes_on_exactly_from_its_state(before: int) -> None:
    straight = EpochSampler(10, seeded(1))
    if before:
        straight.next(before)
    state, randomness = straight.state_dict(), straight.generator.get_state()
    resumed = EpochSampler(3, seeded(99))
    resumed.load_state_dict(state)
    resumed.generator.set_state(randomness)
    assert straight.next(34).tolist() == resumed.next(34).tolist()


def test_state_of_a_sampler_is_three_numbers_and_stays_as_it_was() -> None:
    sampler = EpochSampler(1000, seeded(1))
    sampler.next(700)
    state = sampler.state_dict()
    assert all(type(value) is int for value in state.values())
    copy = dict(state)
    sampler.next(700)
    assert state == copy
    assert (state["total"], state["at"]) == (1000, 700)


# --- by weight ---


@pytest.mark.parametrize(
    ("weights", "count"),
    [
        ((1.0, 2.0, 3.0, 4.0), 2),
        ((1.0, 2.0, 3.0, 4.0), 4),
        ((5.0, 1.0, 1.0), 3),
        ((2.0, 0.0, 1.0, 3.0), 3),
        # One weight holds nearly everything: the others are decided by the race.
        ((1e6, 1.0, 2.0, 3.0), 3),
        ((1.0, 2.0, 1e7, 3.0, 1e7), 4),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_draws_by_weight_follow_successive_sampling_exactly(
    weights: tuple[float, ...], count: int, dtype: torch.dtype
) -> None:
    tensor, generator = torch.tensor(weights, dtype=dtype), seeded(7)
    expected = orders_of(tensor.tolist(), count)
    impossible = {order for order, p in expected.items() if p == 0.0}
    # Orders in which a heavy weight does not come first are too seldom to be counted each.
    seldom = {order for order, p in expected.items() if 0.0 < p < 2e-3}
    common = [order for order in expected if order not in impossible and order not in seldom]
    counts = Counter(tuple(sample_by_weight(tensor, count, generator).tolist()) for _ in range(4000))
    assert not impossible & counts.keys()
    assert sum(counts[order] for order in seldom) <= 4000 * sum(expected[order] for order in seldom) + 10
    fraction = sum(expected[order] for order in common)
    assert fits([counts[order] for order in common], [expected[order] / fraction for order in common])


def test_draws_by_weight_beyond_one_block_follow_the_weights() -> None:
    weights = torch.ones(100)
    weights[torch.tensor([0, 31, 32, 63, 99])] = torch.tensor([10.0, 20.0, 30.0, 0.0, 40.0])
    p = weights.double() / weights.double().sum()
    odds = p / (1.0 - p)
    second = p * (odds.sum() - odds)  # j is second: the sum over the others i that came first of p_i p_j / (1 - p_i)
    generator = seeded(2)
    drawn = torch.stack([sample_by_weight(weights, 2, generator) for _ in range(6000)])
    possible = weights > 0.0
    for column, expected in ((0, p), (1, second)):
        counts = torch.bincount(drawn[:, column], minlength=100)
        assert counts[63] == 0
        assert fits(counts[possible].tolist(), expected[possible].tolist())


@pytest.mark.parametrize("heavy", [0, 17, 299])
def test_a_weight_that_holds_nearly_everything_comes_first_and_all_are_different(heavy: int) -> None:
    weights = torch.full((300,), 1e-6)
    weights[heavy] = 1e6
    for seed in range(20):
        drawn = sample_by_weight(weights, 200, seeded(seed)).tolist()
        assert drawn[0] == heavy
        assert len(set(drawn)) == 200


def test_weights_of_zero_come_last_in_random_order() -> None:
    weights = torch.zeros(100)
    weights[10:40] = torch.linspace(1e-3, 5.0, 30)
    orders = set()
    for seed in range(20):
        drawn = sample_by_weight(weights, 100, seeded(seed)).tolist()
        assert sorted(drawn) == list(range(100))
        assert set(drawn[:30]) == set(range(10, 40))
        orders.add(tuple(drawn[30:]))
    assert len(orders) == 20


def test_weights_that_are_all_zero_are_drawn_uniformly() -> None:
    generator = seeded(5)
    counts = Counter(tuple(sample_by_weight(torch.zeros(4), 2, generator).tolist()) for _ in range(2400))
    assert fits([counts[order] for order in itertools.permutations(range(4), 2)], [1 / 12] * 12)


@pytest.mark.parametrize("smallest", [1e-20, 1e-37, 1e-40, 1e-44])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiny_weights_come_before_zeros_and_nothing_comes_twice(smallest: float, dtype: torch.dtype) -> None:
    weights = torch.tensor([1.0, 0.0, smallest, 0.0, smallest, 2.0, smallest], dtype=dtype)
    for seed in range(20):
        drawn = sample_by_weight(weights, 7, seeded(seed)).tolist()
        assert sorted(drawn) == list(range(7))
        assert set(drawn[:2]) == {0, 5}
        if float(weights[2]) > 0.0:
            assert set(drawn[2:5]) == {2, 4, 6}


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-30, 1e30)), min_size=1, max_size=80),
    st.floats(0.0, 1.0),
    st.integers(0, 100),
)
def test_draws_by_weight_are_different_positions(weights: list[float], fraction: float, seed: int) -> None:
    count = round(fraction * len(weights))
    drawn = sample_by_weight(torch.tensor(weights), count, seeded(seed))
    assert drawn.shape == (count,)
    assert len(set(drawn.tolist())) == count
    assert set(drawn.tolist()) <= set(range(len(weights)))
    positive = {i for i, w in enumerate(weights) if w > 0.0}
    assert set(drawn[: min(count, len(positive))].tolist()) <= positive, "zeros come last"


# --- from what is left ---


@pytest.mark.parametrize(
    ("total", "taken", "count"),
    [
        (11, [2, 7], 2),  # few of many: by tries
        (13, [], 2),
        (8, [6, 0, 3], 3),  # much of it: by listing what is free
        (5, [1, 4], 3),
    ],
)
def test_others_are_drawn_uniformly(total: int, taken: list[int], count: int) -> None:
    generator = seeded(3)
    left = [i for i in range(total) if i not in taken]
    orders = list(itertools.permutations(left, count))
    gone = torch.tensor(taken, dtype=torch.long)
    draws = 30 * len(orders)
    counts = Counter(tuple(sample_others(total, gone, count, generator).tolist()) for _ in range(draws))
    assert counts.keys() <= set(orders), "never what was taken, and nothing twice"
    assert fits([counts[order] for order in orders], [1 / len(orders)] * len(orders))


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 200), st.integers(0, 1000))
def test_others_are_different_and_were_not_taken(total: int, taken: int, count: int, seed: int) -> None:
    taken = min(taken, total)
    count = min(count, total - taken)
    gone = torch.randperm(total, generator=seeded(seed))[:taken]
    drawn = sample_others(total, gone, count, seeded(seed + 1)).tolist()
    assert len(drawn) == len(set(drawn)) == count
    assert not set(drawn) & set(gone.tolist())
    assert set(drawn) <= set(range(total))
