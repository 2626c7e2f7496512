"""Learning rates: by hand, and against torch's schedulers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR

from nerfcl.training.schedules import Moment, learning_rate, warm_cosine
from nerfcl.training.settings import OptimiserSettings


@pytest.mark.parametrize(
    ("step", "warm_up", "final", "expected"),
    [
        (0, 50, 0.05, 2e-2 / 50),  # the first of 50 steps up, the cosine still at its top
        (24, 50, 0.05, 2e-2 * 0.5 * (0.05 + 0.95 * 0.5 * (1.0 + 0.9971590))),  # half way up; cos(24 pi / 1000)
        (0, 0, 0.1, 2e-2),  # the peak, without warm-up
        (0, 1, 0.1, 2e-2),
        (500, 50, 0.05, 2e-2 * (1.0 + 0.05) / 2),  # half way, the mean of peak and end
        (1000, 50, 0.05, 1e-3),  # the final fraction
        (1000, 50, 0.0, 0.0),
    ],
)
def test_warm_cosine_by_hand(step: int, warm_up: int, final: float, expected: float) -> None:
    assert warm_cosine(step, 1000, 2e-2, warm_up, final) == pytest.approx(expected, rel=1e-6)


def test_warm_cosine_falls_after_the_warm_up_and_is_highest_at_its_end() -> None:
    rates = [warm_cosine(step, 400, 1.0, 50, 0.05) for step in range(401)]
    assert all(0.0 < a < b for a, b in itertools.pairwise(rates[:50]))
    assert all(a > b > 0.0 for a, b in itertools.pairwise(rates[49:]))


def settings(**changes: Any) -> OptimiserSettings:
    return OptimiserSettings(**{"learning_rate": 0.3, **changes})


def rate(epoch: float, epochs: int, made: OptimiserSettings) -> float:
    return learning_rate(Moment(step=123, steps=456, epoch=epoch, epochs=epochs), made)


def by_torch(schedule: Callable[[torch.optim.Optimizer], LRScheduler], epochs: int, start: float = 0.3) -> list[float]:
    """The rate of every epoch as one of torch's schedulers gives it, stepped once an epoch."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=start)
    scheduler, rates = schedule(optimiser), []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


SCHEDULERS = [
    ({"schedule": "step", "decay_epochs": (3, 7, 8), "decay_gamma": 0.5}, lambda o: MultiStepLR(o, [3, 7, 8], 0.5)),
    ({"schedule": "step", "decay_epochs": ()}, lambda o: MultiStepLR(o, [])),
    ({"schedule": "cosine"}, lambda o: CosineAnnealingLR(o, T_max=12)),
    ({"schedule": "cosine", "schedule_epochs": 20}, lambda o: CosineAnnealingLR(o, T_max=20)),
    ({"schedule": "poly", "poly_exponent": 0.9}, lambda o: LambdaLR(o, lambda epoch: (1 - epoch / 12) ** 0.9)),
    ({"schedule": "poly", "poly_exponent": 2.0, "schedule_epochs": 15},
     lambda o: LambdaLR(o, lambda epoch: (1 - epoch / 15) ** 2.0)),
    ({"schedule": "constant", "warm_up": 0}, lambda o: LambdaLR(o, lambda _: 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "schedule"), SCHEDULERS)
def test_schedules_by_epochs_follow_those_of_torch(changes: dict[str, Any], schedule: Any) -> None:
    expected = by_torch(schedule, 12)
    made = settings(**changes)
    for within in (0.0, 0.4, 0.999):
        rates = [rate(epoch + within, 12, made) for epoch in range(12)]
        assert rates == pytest.approx(expected, rel=1e-6, abs=1e-9), "within an epoch nothing changes"


@pytest.mark.parametrize(("changes", "schedule"), SCHEDULERS[:-1])
@pytest.mark.parametrize("multiplier", [1.0, 4.0])
def test_after_the_warm_up_a_schedule_begins_at_the_multiplied_rate(
    changes: dict[str, Any], schedule: Any, multiplier: float
) -> None:
    made = settings(**changes, warmup_epochs=3, warmup_multiplier=multiplier)
    rates = [rate(3 + epoch, 12, made) for epoch in range(9)]
    assert rates == pytest.approx(by_torch(schedule, 9, 0.3 * multiplier), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warmup_epochs": 4}, {0.0: 0.0, 1.0: 0.075, 2.0: 0.15, 3.5: 0.2625, 4.0: 0.3, 5.0: 0.3}),
        (
            {"warmup_epochs": 4, "warmup_multiplier": 3.0},
            {0.0: 0.3, 1.0: 0.45, 2.0: 0.6, 3.5: 0.825, 4.0: 0.9, 5.0: 0.9},
        ),
        ({"warmup_epochs": 2, "decay_epochs": (3,), "decay_gamma": 0.1}, {2.0: 0.3, 4.9: 0.3, 5.0: 0.03}),
    ],
)
def test_warm_up_by_hand(changes: dict[str, Any], expected: dict[float, float]) -> None:
    made = settings(**{"schedule": "step", "decay_epochs": (), **changes})
    assert {epoch: rate(epoch, 9, made) for epoch in expected} == pytest.approx(expected)


def test_radam_and_schedules_within_an_experience_do_not_warm_up_by_epochs() -> None:
    assert rate(0.0, 9, settings(schedule="step", warmup_epochs=4, optimiser="radam")) == 0.3
    assert rate(0.0, 9, settings(schedule="constant", warm_up=0, warmup_epochs=4)) == 0.3
    made = settings(warmup_epochs=4)
    assert rate(0.0, 9, made) == rate(8.0, 9, made) == warm_cosine(123, 456, 0.3, 50, 0.05)


def test_a_constant_rate_rises_once_over_the_steps_of_the_whole_stream() -> None:
    made = settings(schedule="constant", warm_up=5)

    def at(total: int, step: int = 0) -> float:
        return learning_rate(Moment(step, 32, epoch=7.0, epochs=8, total=total), made)

    assert [at(total) for total in (0, 1, 3, 4, 5, 1000)] == pytest.approx([0.06, 0.12, 0.24, 0.3, 0.3, 0.3])
    assert {at(total, step) for total in range(32, 96) for step in (0, 31)} == {0.3}, "no experience begins anew"


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_schedules_that_are_over_stay_at_nothing(schedule: str) -> None:
    made = settings(schedule=schedule, schedule_epochs=5)
    assert [rate(epoch, 40, made) for epoch in (5.0, 6.0, 30.0)] == pytest.approx([0.0, 0.0, 0.0])
