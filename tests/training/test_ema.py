"""The exponential moving average of parameters: by its recursion, and going on from its state."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from nerfcl.training.ema import Ema, make_ema
from nerfcl.training.settings import OptimiserSettings


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


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.98])
def test_the_average_follows_the_recursion(decay: float) -> None:
    model = Line()
    ema = Ema(model.parameters(), decay)
    by_hand, averaged = values_of(model), ema.applied_to(model)
    for step in range(1, 203):
        model.move(step)
        ema.update(model)
        if step % 4 == 0:  # every fourth step, by the decay to the fourth; at first 1/10, 2/11, 3/12, ...
            keep = min(decay**4, (step // 4) / (step // 4 + 9))
            by_hand = [keep * old + (1.0 - keep) * new for old, new in zip(by_hand, values_of(model), strict=True)]
        averaged = ema.applied_to(model)
        assert values_of(averaged) == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    assert values_of(model)[0] == pytest.approx(1.0 + 202 * 0.5), "the model itself is left alone"
    assert values_of(averaged)[0] < values_of(model)[0] - 0.1, "the average lags behind"


@pytest.mark.parametrize("steps", [3, 4, 18])
def test_the_average_goes_on_exactly_from_its_state(steps: int) -> None:
    model, other = Line(), Line()
    straight, resumed = Ema(model.parameters(), 0.9), Ema(other.parameters(), 0.9)
    for step in range(steps):
        model.move(step)
        straight.update(model)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    other.load_state_dict(model.state_dict())
    late = Ema(model.parameters(), 0.9)
    for step in range(steps, steps + 9):
        for ema, moved in ((straight, model), (resumed, other)):
            moved.move(step)
            ema.update(moved)
        late.update(model)
    assert all(torch.equal(a, b) for a, b in zip(straight.values, resumed.values, strict=True))
    assert not torch.equal(straight.values[0], late.values[0]), "without the state it is not the same"


def test_there_is_an_average_where_one_is_asked_for() -> None:
    assert make_ema(Line().parameters(), OptimiserSettings(ema_decay=0.0)) is None
    ema = make_ema(Line().parameters(), OptimiserSettings(ema_decay=0.7))
    assert ema is not None
    assert ema.decay == 0.7
