"""EWC and MAS against closed forms on a model whose derivatives are known."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from nerfcl.cli.options import Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import Rays, camera_rays
from nerfcl.scenes.scene import Views
from nerfcl.strategies.importance import Anchored, ImportanceState
from nerfcl.streams.tasks import Experience, make_stream


class Tinted:
    """Sees the colour tint * direction, channel by channel, plus a bias that nothing depends on."""

    def __init__(self) -> None:
        self.tint = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.idle = nn.Parameter(torch.tensor([7.0]))

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        rgb = self.tint * rays.directions
        return Rendering(rgb, rgb[:, 0], rgb[:, 0], len(rays))

    def snapshot(self) -> Tinted:
        return copy.deepcopy(self)

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter([self.tint, self.idle])

    def rendering_state(self) -> Mapping[str, Tensor]:
        return {"tint": self.tint.detach()}


def tinted() -> tuple[Tinted, Model]:
    made = Tinted()
    return made, cast(Model, made)


@pytest.fixture
def experience(tiny_scene_folder: Path) -> Experience:
    return make_stream(load_scene(tiny_scene_folder), ["right", "left"])[0]


def directions_of(views: Views) -> Tensor:
    return torch.cat([camera_rays(views.camera(i)).directions for i in range(len(views))])


def measured(name: str, experience: Experience, **knobs: Any) -> tuple[Anchored, ImportanceState, Tinted]:
    options = ",".join(f"{key.replace('_', '-')}={value}" for key, value in knobs.items())
    strategy = make_strategy(f"{name}:importance-rays=20000,{options}".rstrip(","), Run())
    assert isinstance(strategy, Anchored)
    state = strategy.new_state(seeded(0, "strategy"))
    made, model = tinted()
    strategy.end(state, experience, model)
    return strategy, state, made


@pytest.mark.parametrize("batch", [1, 16, 200])
def test_ewc_measures_the_fisher_diagonal_whatever_the_batch(batch: int, experience: Experience) -> None:
    # d colour_c / d tint_c = direction_c, all other derivatives are 0.
    _, state, _ = measured("ewc", experience, importance_batch=batch)
    expected = directions_of(experience.train).square().mean(0)
    torch.testing.assert_close(state.importance[0], expected, rtol={1: 0.05, 16: 0.1, 200: 0.4}[batch], atol=0.01)
    assert not state.importance[1].any()


def test_mas_measures_the_mean_absolute_derivative_of_the_squared_length(experience: Experience) -> None:
    # d |colour|^2 / d tint_c = 2 tint_c direction_c^2: of one sign, so that nothing cancels in a batch.
    _, state, made = measured("mas", experience)
    expected = 2.0 * made.tint.detach().abs() * directions_of(experience.train).square().mean(0)
    torch.testing.assert_close(state.importance[0], expected, rtol=0.05, atol=0.01)
    assert not state.importance[1].any()


def test_the_pull_is_the_penaltys_gradient(experience: Experience) -> None:
    strategy, state, made = measured("ewc", experience, strength=3.0)
    with torch.no_grad():
        made.tint.add_(torch.tensor([0.1, -0.2, 0.3]))
        made.idle.add_(5.0)
    tint = made.tint.detach().clone().requires_grad_(True)
    penalty = 3.0 / 3.0 * (state.importance[0] * (tint - state.anchors[0]).square()).sum()
    penalty.backward()
    made.tint.grad = torch.tensor([1.0, 1.0, 1.0])
    strategy.after_backward(state, cast(Model, made))
    assert made.tint.grad is not None
    assert tint.grad is not None
    torch.testing.assert_close(made.tint.grad, 1.0 + tint.grad)
    assert made.idle.grad is not None
    assert not made.idle.grad.any(), "what does not matter is free"


def test_strength_one_is_the_growth_of_the_pasts_mean_squared_error(experience: Experience) -> None:
    # Of this model the Fisher matrix is diagonal and the error quadratic: the penalty is exact.
    _, state, made = measured("ewc", experience)
    change = torch.tensor([0.1, -0.2, 0.3])
    growth = (change * directions_of(experience.train)).square().mean()
    penalty = (state.importance[0] * change.square()).sum() / 3.0
    torch.testing.assert_close(penalty, growth, rtol=0.1, atol=0.0)
    torch.testing.assert_close(state.anchors[0], made.tint.detach(), rtol=1e-3, atol=1e-3)


def test_importance_adds_up_over_experiences_and_fades_as_told(experience: Experience) -> None:
    first = measured("ewc", experience)[1].importance[0]
    for keep in (1.0, 0.5, 0.0):
        strategy, state, made = measured("ewc", experience, keep=keep)
        strategy.end(state, experience, cast(Model, made))
        torch.testing.assert_close(state.importance[0], (1.0 + keep) * first, rtol=0.1, atol=0.01)


def test_without_a_past_nothing_is_held(experience: Experience) -> None:
    strategy = make_strategy("ewc", Run())
    state = strategy.new_state(seeded(0, "strategy"))
    made, model = tinted()
    strategy.begin(state, experience, model)
    strategy.after_backward(state, model)
    assert made.tint.grad is None


@pytest.mark.parametrize(
    ("knob", "value"),
    [("strength", -1.0), ("keep", 1.5), ("importance-batch", 0), ("importance-rays", 0), ("snapshot-bits", 20)],
)
def test_knobs_that_cannot_work_are_refused_by_name(knob: str, value: float) -> None:
    with pytest.raises(NerfclError, match=f"--{knob}"):
        make_strategy(f"mas:{knob}={value}", Run())
