from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR

from nerfcl.errors import NerfclError
from nerfcl.training.optimisation import (
    OPTIMISERS,
    Adam,
    Moment,
    OptimisationSettings,
    ParameterMean,
    make_optimiser,
    mean_of,
    rate_at,
    warm_cosine,
)


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


# --- schedules ---


def settings(**knobs: Any) -> OptimisationSettings:
    return OptimisationSettings(**{"learning_rate": 0.3, **knobs})


def rate(epoch: float, epochs: int, made: OptimisationSettings) -> float:
    return rate_at(Moment(step=123, steps=456, epoch=epoch, epochs=epochs), made)


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


@pytest.mark.parametrize(("knobs", "schedule"), SCHEDULERS)
def test_schedules_by_epochs_follow_those_of_torch(knobs: dict[str, Any], schedule: Any) -> None:
    expected = by_torch(schedule, 12)
    made = settings(**knobs)
    for within in (0.0, 0.4, 0.999):
        rates = [rate(epoch + within, 12, made) for epoch in range(12)]
        assert rates == pytest.approx(expected, rel=1e-6, abs=1e-9), "within an epoch nothing changes"


@pytest.mark.parametrize(("knobs", "schedule"), SCHEDULERS[:-1])
@pytest.mark.parametrize("multiplier", [1.0, 4.0])
def test_after_the_warm_up_a_schedule_begins_at_the_multiplied_rate(
    knobs: dict[str, Any], schedule: Any, multiplier: float
) -> None:
    made = settings(**knobs, warmup_epochs=3, warmup_multiplier=multiplier)
    rates = [rate(3 + epoch, 12, made) for epoch in range(9)]
    assert rates == pytest.approx(by_torch(schedule, 9, 0.3 * multiplier), rel=1e-6)


def test_warm_up_by_hand() -> None:
    from_nothing = settings(schedule="step", warmup_epochs=4, decay_epochs=())
    assert [rate(e, 9, from_nothing) for e in (0.0, 1.0, 2.0, 3.5, 4.0, 5.0)] == pytest.approx(
        [0.0, 0.075, 0.15, 0.2625, 0.3, 0.3]
    )
    to_triple = settings(schedule="step", warmup_epochs=4, warmup_multiplier=3.0, decay_epochs=())
    assert [rate(e, 9, to_triple) for e in (0.0, 1.0, 2.0, 3.5, 4.0, 5.0)] == pytest.approx(
        [0.3, 0.45, 0.6, 0.825, 0.9, 0.9]
    )
    decaying = settings(schedule="step", warmup_epochs=2, decay_epochs=(3,), decay_gamma=0.1)
    assert [rate(e, 9, decaying) for e in (2.0, 4.9, 5.0)] == pytest.approx([0.3, 0.3, 0.03])


def test_radam_and_schedules_within_an_experience_do_not_warm_up_by_epochs() -> None:
    assert rate(0.0, 9, settings(schedule="step", warmup_epochs=4, optimiser="radam")) == 0.3
    assert rate(0.0, 9, settings(schedule="constant", warm_up=0, warmup_epochs=4)) == 0.3
    made = settings(warmup_epochs=4)
    assert rate(0.0, 9, made) == rate(8.0, 9, made) == warm_cosine(123, 456, 0.3, 50, 0.05)


def test_a_constant_rate_rises_once_over_the_steps_of_the_whole_stream() -> None:
    made = settings(schedule="constant", warm_up=5)

    def at(total: int, step: int = 0) -> float:
        return rate_at(Moment(step, 32, epoch=7.0, epochs=8, total=total), made)

    assert [at(total) for total in (0, 1, 3, 4, 5, 1000)] == pytest.approx([0.06, 0.12, 0.24, 0.3, 0.3, 0.3])
    assert {at(total, step) for total in range(32, 96) for step in (0, 31)} == {0.3}, "no chunk begins anew"
    assert rate_at(Moment(0, 1, 0.0, 1, 0), settings(schedule="constant", warm_up=0)) == 0.3


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_schedules_that_are_over_stay_at_nothing(schedule: str) -> None:
    made = settings(schedule=schedule, schedule_epochs=5)
    assert [rate(epoch, 40, made) for epoch in (5.0, 6.0, 30.0)] == pytest.approx([0.0, 0.0, 0.0])


# --- optimisers ---


def start_values() -> list[torch.Tensor]:
    return [torch.linspace(-1.0, 1.0, 24).view(6, 4), torch.linspace(0.2, 3.0, 5)]


def against(made: OptimisationSettings, reference: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> None:
    """Ours and torch's take the same steps, at changing rates, on gradients that are nowhere zero."""
    mine, theirs = ([nn.Parameter(value.clone()) for value in start_values()] for _ in range(2))
    ours, other = make_optimiser(iter(mine), made), reference(theirs)
    for lr in (1e-2, 3e-2, 5e-3, 2e-2, 2e-2, 1e-2, 1e-2, 1e-2):
        losses_gradient(mine, 1.3)
        losses_gradient(theirs, 1.3)
        ours.step(lr)
        other.param_groups[0]["lr"] = lr
        other.step()
        other.zero_grad()
        assert all(parameter.grad is None for parameter in mine)
    for a, b, before in zip(mine, theirs, start_values(), strict=True):
        torch.testing.assert_close(a.data, b.data, atol=2e-6, rtol=2e-6)
        assert (a - before).abs().max() > 1e-2


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("betas", "epsilon"), [((0.9, 0.99), 1e-15), ((0.8, 0.999), 1e-2)])
def test_adam_takes_its_settings(decay: float, betas: tuple[float, float], epsilon: float) -> None:
    made = settings(betas=betas, epsilon=epsilon, weight_decay=decay)
    against(made, lambda p: torch.optim.Adam(p, lr=1.0, betas=betas, eps=epsilon, weight_decay=decay))


def test_weight_decay_reaches_entries_without_a_gradient_of_their_own() -> None:
    mine, theirs = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    ours = make_optimiser([mine], settings(weight_decay=0.1))
    other = torch.optim.Adam([theirs], lr=0.05, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.1)
    for _ in range(4):
        for parameter in (mine, theirs):
            parameter.grad = torch.tensor([0.3, 0.0, 0.0])
        ours.step(0.05)
        other.step()
    torch.testing.assert_close(mine.data, theirs.data, atol=1e-6, rtol=1e-6)
    assert mine[1] > -1.9


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.3)])
def test_sgd_takes_its_settings(momentum: float, decay: float) -> None:
    made = settings(optimiser="sgd", momentum=momentum, weight_decay=decay)
    against(made, lambda p: torch.optim.SGD(p, lr=1.0, momentum=momentum, weight_decay=decay))


def test_sgd_by_hand() -> None:
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimiser = make_optimiser([parameter], settings(optimiser="sgd", momentum=0.5, weight_decay=0.25))
    for lr, expected in ((0.1, 1.85), (0.2, 1.85 - 0.2 * (1.0 + 0.25 * 1.85 + 0.5 * 1.5))):
        parameter.grad = torch.ones(1)
        optimiser.step(lr)  # velocity: 1 + 0.25 * 2 = 1.5 at first
        assert parameter.item() == pytest.approx(expected)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_radam_takes_its_settings(decay: float) -> None:
    made = settings(optimiser="radam", weight_decay=decay)
    against(made, lambda p: torch.optim.RAdam(p, lr=1.0, eps=1e-8, weight_decay=decay))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_goes_on_exactly_from_its_state(name: str) -> None:
    made = settings(optimiser=name, weight_decay=0.01)
    one, other = nn.Parameter(torch.linspace(-2.0, 2.0, 40)), nn.Parameter(torch.zeros(40))
    straight = make_optimiser([one], made)
    for _ in range(7):
        losses_gradient([one], 1.0)
        straight.step(1e-3)
    other.data.copy_(one.data)
    resumed = make_optimiser([other], made)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    fresh_value = nn.Parameter(one.detach().clone())
    fresh = make_optimiser([fresh_value], made)
    for optimiser, parameter in ((straight, one), (resumed, other), (fresh, fresh_value)):
        losses_gradient([parameter], 1.0)
        optimiser.step(1e-3)
    assert torch.equal(one.data, other.data)
    assert not torch.equal(one.data, fresh_value.data), "without the state it is not the same"


@pytest.mark.parametrize(
    ("knobs", "option"),
    [
        ({"optimiser": "lion"}, "--optimiser lion"),
        ({"schedule": "sawtooth"}, "--schedule sawtooth"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"learning_rate": math.inf}, "--learning-rate"),
        ({"momentum": -0.1}, "--momentum"),
        ({"weight_decay": -1e-4}, "--weight-decay"),
        ({"weight_decay": math.nan}, "--weight-decay"),
        ({"decay_gamma": -0.5}, "--decay-gamma"),
        ({"poly_exponent": -1.0}, "--poly-exponent"),
        ({"warmup_epochs": -1}, "--warmup-epochs"),
        ({"warmup_multiplier": 0.5}, "--warmup-multiplier"),
        ({"warmup_multiplier": math.nan}, "--warmup-multiplier"),
        ({"warmup_multiplier": math.inf}, "--warmup-multiplier"),
        ({"average": 1.0}, "--average 1.0"),
        ({"average": -0.1}, "--average -0.1"),
        ({"average": math.nan}, "--average nan"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(knobs: dict[str, Any], option: str) -> None:
    with pytest.raises(NerfclError, match=option):
        settings(**knobs)


# --- the running mean ---


class Line(nn.Module):
    """A model of two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([1.0, -1.0])), nn.Parameter(torch.tensor(2.0))

    def move(self, step: int) -> None:
        with torch.no_grad():
            self.a += torch.tensor([0.5, math.sin(step)])
            self.b.mul_(-0.9)

    def snapshot(self) -> Line:
        return copy.deepcopy(self).requires_grad_(False)


def values_of(model: Line) -> list[float]:
    return [*model.a.tolist(), model.b.item()]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_a_running_mean_follows_the_recursion(share: float) -> None:
    model = Line()
    mean = ParameterMean(model.parameters(), share)
    by_hand, shown = values_of(model), mean.applied_to(model)
    for step in range(1, 203):
        model.move(step)
        mean.follow(model)
        if step % 4 == 0:  # every fourth step, of the share to the fourth; at first 1/10, 2/11, 3/12, ...
            keep = min(share**4, (step // 4) / (step // 4 + 9))
            by_hand = [keep * old + (1.0 - keep) * new for old, new in zip(by_hand, values_of(model), strict=True)]
        shown = mean.applied_to(model)
        assert values_of(shown) == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
    assert not any(parameter.requires_grad for parameter in shown.parameters())
    assert values_of(model)[0] == pytest.approx(1.0 + 202 * 0.5), "the model itself is left alone"
    assert values_of(shown)[0] < values_of(model)[0] - 0.1, "the mean lags behind"


@pytest.mark.parametrize("steps", [3, 4, 18])
def test_a_running_mean_goes_on_exactly_from_its_state(steps: int) -> None:
    model = Line()
    straight = ParameterMean(model.parameters(), 0.9)
    for step in range(steps):
        model.move(step)
        straight.follow(model)
    other = Line()
    resumed = ParameterMean(other.parameters(), 0.9)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    other.load_state_dict(model.state_dict())
    late = ParameterMean(model.parameters(), 0.9)
    for step in range(steps, steps + 9):
        for mean, moved in ((straight, model), (resumed, other)):
            moved.move(step)
            mean.follow(moved)
        late.follow(model)
    assert all(torch.equal(a, b) for a, b in zip(straight.values, resumed.values, strict=True))
    assert not torch.equal(straight.values[0], late.values[0]), "without the state it is not the same"


def test_there_is_a_running_mean_where_one_is_asked_for() -> None:
    assert mean_of(Line().parameters(), settings(average=0.0)) is None
    made = mean_of(Line().parameters(), settings(average=0.7))
    assert made is not None
    assert made.share == 0.7
