from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from nerfcl.optimisation import Adam, warm_cosine


def test_warm_cosine_rises_from_the_first_step() -> None:
    # Step 0 of a warm-up of 50: one fiftieth, the cosine still at its top.
    assert warm_cosine(0, 1000, 2e-2, 50, 0.05) == pytest.approx(2e-2 / 50)
    # Step 24: half way up, cos(24 pi / 1000) by hand.
    cosine = 0.05 + 0.95 * 0.5 * (1.0 + 0.9971590)
    assert warm_cosine(24, 1000, 2e-2, 50, 0.05) == pytest.approx(2e-2 * 0.5 * cosine, rel=1e-6)


def test_warm_cosine_reaches_its_peak_without_warm_up() -> None:
    assert warm_cosine(0, 100, 0.3, 0, 0.1) == pytest.approx(0.3)
    assert warm_cosine(0, 100, 0.3, 1, 0.1) == pytest.approx(0.3)


def test_warm_cosine_half_way_is_the_mean_of_peak_and_end() -> None:
    assert warm_cosine(500, 1000, 2e-2, 50, 0.05) == pytest.approx(2e-2 * (1.0 + 0.05) / 2)


def test_warm_cosine_ends_at_the_final_share() -> None:
    assert warm_cosine(1000, 1000, 2e-2, 50, 0.05) == pytest.approx(1e-3)
    assert warm_cosine(1000, 1000, 2e-2, 50, 0.0) == pytest.approx(0.0)


def test_warm_cosine_falls_after_the_warm_up_and_is_highest_about_its_end() -> None:
    rates = [warm_cosine(step, 400, 1.0, 50, 0.05) for step in range(401)]
    highest = max(range(401), key=rates.__getitem__)
    assert highest == 49
    assert all(a < b for a, b in itertools.pairwise(rates[:50]))
    assert all(a > b for a, b in itertools.pairwise(rates[49:]))
    assert all(math.isfinite(rate) and rate > 0.0 for rate in rates)


def losses_gradient(parameters: list[nn.Parameter], target: float) -> None:
    sum((parameter - target).pow(4).sum() for parameter in parameters).backward()  # type: ignore[union-attr]


def test_adam_follows_torch_where_everything_has_a_gradient() -> None:
    start = [torch.linspace(-1.0, 1.0, 24).view(6, 4), torch.linspace(0.2, 3.0, 5)]
    mine, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    ours, reference = Adam(mine), torch.optim.Adam(theirs, lr=1.0, betas=(0.9, 0.99), eps=1e-15)
    for rate in (1e-2, 3e-2, 5e-3, 2e-2):
        losses_gradient(mine, 7.0)
        losses_gradient(theirs, 7.0)
        ours.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
        assert all(parameter.grad is None for parameter in mine)
    for a, b, before in zip(mine, theirs, start, strict=True):
        torch.testing.assert_close(a.data, b.data, atol=1e-6, rtol=1e-6)
        assert (a - before).abs().min() > 1e-3


def test_adam_leaves_parameters_without_gradient_alone() -> None:
    moved, still = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimiser = Adam([moved, still])
    moved.sum().backward()
    optimiser.step(0.1)
    assert moved.tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert still.tolist() == [1.0, 1.0, 1.0]


def test_adam_goes_on_exactly_from_its_state() -> None:
    one, other = nn.Parameter(torch.linspace(-2.0, 2.0, 40)), nn.Parameter(torch.zeros(40))
    straight = Adam([one])
    for _ in range(3):
        losses_gradient([one], 1.0)
        straight.step(1e-2)
    resumed = Adam([other])
    other.data.copy_(one.data)
    state = straight.state_dict()
    resumed.load_state_dict({**state, **{key: [t.clone() for t in state[key]] for key in ("means", "squares")}})
    for optimiser, parameter in ((straight, one), (resumed, other)):
        losses_gradient([parameter], 1.0)
        optimiser.step(1e-2)
    assert torch.equal(one.data, other.data)
