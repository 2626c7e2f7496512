"""Optimisers: the same steps as torch's, and going on from their state."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from nerfcl.errors import NerfclError
from nerfcl.training.optimisers import Adam, make_optimiser
from nerfcl.training.settings import OPTIMISERS, OptimiserSettings


def set_gradients(parameters: list[nn.Parameter], target: float) -> None:
    sum((parameter - target).pow(4).sum() for parameter in parameters).backward()  # type: ignore[union-attr]


def start_values() -> list[torch.Tensor]:
    return [torch.linspace(-1.0, 1.0, 24).view(6, 4), torch.linspace(0.2, 3.0, 5)]


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({}, partial(torch.optim.Adam, betas=(0.7, 0.99), eps=1e-15)),
        ({"betas": (0.8, 0.999), "epsilon": 1e-2}, partial(torch.optim.Adam, betas=(0.8, 0.999), eps=1e-2)),
        ({"optimiser": "sgd"}, partial(torch.optim.SGD, momentum=0.9)),
        ({"optimiser": "sgd", "momentum": 0.0}, torch.optim.SGD),
        ({"optimiser": "sgd", "momentum": 0.5}, partial(torch.optim.SGD, momentum=0.5)),
        ({"optimiser": "radam"}, partial(torch.optim.RAdam, eps=1e-8)),
    ],
)
def test_steps_are_those_of_torch_where_everything_has_a_gradient(
    changes: dict[str, Any], reference: Callable[..., torch.optim.Optimizer], decay: float
) -> None:
    mine, theirs = ([nn.Parameter(value.clone()) for value in start_values()] for _ in range(2))
    ours = make_optimiser(iter(mine), OptimiserSettings(**changes, weight_decay=decay))
    other = reference(theirs, lr=1.0, weight_decay=decay)
    for rate in (1e-2, 3e-2, 5e-3, 2e-2, 2e-2, 1e-2, 1e-2, 1e-2):
        set_gradients(mine, 1.3)
        set_gradients(theirs, 1.3)
        ours.step(rate)
        other.param_groups[0]["lr"] = rate
        other.step()
        other.zero_grad()
        assert all(parameter.grad is None for parameter in mine)
    for a, b, before in zip(mine, theirs, start_values(), strict=True):
        torch.testing.assert_close(a.data, b.data, atol=2e-6, rtol=2e-6)
        assert (a - before).abs().max() > 1e-2


def test_adam_leaves_parameters_without_gradient_alone() -> None:
    moved, still = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimiser = Adam([moved, still])
    moved.sum().backward()
    optimiser.step(0.1)
    assert moved.tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert still.tolist() == [1.0, 1.0, 1.0]


def test_weight_decay_reaches_entries_without_a_gradient_of_their_own() -> None:
    mine, theirs = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    ours = make_optimiser([mine], OptimiserSettings(weight_decay=0.1))
    other = torch.optim.Adam([theirs], lr=0.05, betas=(0.7, 0.99), eps=1e-15, weight_decay=0.1)
    for _ in range(4):
        for parameter in (mine, theirs):
            parameter.grad = torch.tensor([0.3, 0.0, 0.0])
        ours.step(0.05)
        other.step()
    torch.testing.assert_close(mine.data, theirs.data, atol=1e-6, rtol=1e-6)
    assert mine[1] > -1.9


def test_sgd_by_hand() -> None:
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimiser = make_optimiser([parameter], OptimiserSettings(optimiser="sgd", momentum=0.5, weight_decay=0.25))
    for rate, expected in ((0.1, 1.85), (0.2, 1.85 - 0.2 * (1.0 + 0.25 * 1.85 + 0.5 * 1.5))):
        parameter.grad = torch.ones(1)
        optimiser.step(rate)  # velocity: 1 + 0.25 * 2 = 1.5 at first
        assert parameter.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_every_optimiser_goes_on_exactly_from_its_state(name: str, decay: float) -> None:
    settings = OptimiserSettings(optimiser=name, weight_decay=decay)
    one, other = nn.Parameter(torch.linspace(-2.0, 2.0, 40)), nn.Parameter(torch.zeros(40))
    straight = make_optimiser([one], settings)
    for _ in range(7):
        set_gradients([one], 1.0)
        straight.step(1e-3)
    other.data.copy_(one.data)
    resumed = make_optimiser([other], settings)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    fresh_value = nn.Parameter(one.detach().clone())
    fresh = make_optimiser([fresh_value], settings)
    for optimiser, parameter in ((straight, one), (resumed, other), (fresh, fresh_value)):
        set_gradients([parameter], 1.0)
        optimiser.step(1e-3)
    assert torch.equal(one.data, other.data)
    assert not torch.equal(one.data, fresh_value.data), "without the state it is not the same"


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("optimiser", ("lion",), "must be one of adam, sgd, radam"),
        ("schedule", ("sawtooth",), "must be one of warm-cosine, constant, step, cosine, poly"),
        ("learning_rate", (0.0, math.nan, math.inf), "must be a positive number"),
        *(
            (name, (-0.1, math.nan), "must not be negative")
            for name in ("momentum", "weight_decay", "decay_gamma", "poly_exponent")
        ),
        ("warmup_epochs", (-1,), "must not be negative"),
        ("warmup_multiplier", (0.5, math.nan, math.inf), "must be at least 1"),
        ("ema_decay", (1.0, -0.1, math.nan), "must be at least 0 and below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(name: str, values: tuple[Any, ...], why: str) -> None:
    for value in values:
        with pytest.raises(NerfclError) as refusal:
            OptimiserSettings(**{name: value})
        assert str(refusal.value) == f"{name}={value!r}: {why}"
