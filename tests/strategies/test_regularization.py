"""EWC and MAS against closed forms on a model whose derivatives are known."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import Rays, camera_rays, pixel_offsets, pixel_rays
from nerfcl.scenes.scene import Views
from nerfcl.strategies.ewc import Ewc
from nerfcl.strategies.mas import Mas
from nerfcl.strategies.regularization import ImportanceState, ParameterRegularization
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience, Stream
from strategies.parts import rendering_of, some_pixels, state_after, strategy_of


class TintModel:
    """Renders the colour tint * direction, channel by channel; nothing depends on its other parameter."""

    def __init__(self) -> None:
        self.tint = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.idle = nn.Parameter(torch.tensor([7.0]))

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        return rendering_of(self.tint * rays.directions)

    def render_pixels(self, pixels: Pixels) -> Rendering:
        return self.render(pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, pixel_offsets(1)))

    def snapshot(self) -> TintModel:
        return copy.deepcopy(self)

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter([self.tint, self.idle])

    def rendering_state(self) -> Mapping[str, Tensor]:
        return {"tint": self.tint.detach()}


@pytest.fixture
def experience(stream: Stream) -> Experience:
    return stream[0]


def directions_of(views: Views) -> Tensor:
    return torch.cat([camera_rays(views.camera(i)).directions for i in range(len(views))])


def measured(text: str, experience: Experience) -> tuple[ParameterRegularization, ImportanceState, TintModel]:
    """A strategy whose first experience is over, and its state."""
    strategy, model = strategy_of(text), TintModel()
    assert isinstance(strategy, ParameterRegularization)
    return strategy, state_after(strategy, experience, cast(Model, model)), model


# --- importance ---


@pytest.mark.parametrize(("rays", "batch", "rtol"), [(4000, 1, 0.05), (20_000, 16, 0.1), (20_000, 200, 0.4)])
def test_ewc_measures_the_fisher_diagonal_whatever_the_batch(
    rays: int, batch: int, rtol: float, experience: Experience
) -> None:
    # d colour_c / d tint_c = direction_c, all other derivatives are 0.
    _, state, _ = measured(f"ewc:importance-rays={rays},importance-batch={batch}", experience)
    expected = directions_of(experience.train).square().mean(0)
    torch.testing.assert_close(state.importance[0], expected, rtol=rtol, atol=0.01)
    assert not state.importance[1].any()


def test_mas_measures_the_mean_absolute_derivative_of_the_squared_length(experience: Experience) -> None:
    # d |colour|^2 / d tint_c = 2 tint_c direction_c^2: of one sign, so that nothing cancels in a batch.
    _, state, model = measured("mas:importance-rays=20000", experience)
    expected = 2.0 * model.tint.detach().abs() * directions_of(experience.train).square().mean(0)
    torch.testing.assert_close(state.importance[0], expected, rtol=0.05, atol=0.01)
    assert not state.importance[1].any()


def test_importance_adds_up_over_experiences_and_decays_as_told(experience: Experience) -> None:
    first = measured("ewc:importance-rays=8000", experience)[1].importance[0]
    for decay in (1.0, 0.5, 0.0):
        strategy, state, model = measured(f"ewc:importance-rays=8000,importance-decay={decay}", experience)
        strategy.end(state, experience, cast(Model, model))
        torch.testing.assert_close(state.importance[0], (1.0 + decay) * first, rtol=0.1, atol=0.01)


# --- penalty ---

# All of these, and the roots of importance, are exact in half precision, as they are packed.
ANCHOR, IMPORTANCE, MOVED = [0.5, -1.0, 2.0], [1.0, 4.0, 0.25], [0.5, -0.25, 1.0]


@pytest.mark.parametrize("strategy", [Ewc(ewc_lambda=6.0), Mas(mas_lambda=6.0), Ewc(ewc_lambda=0.0)])
def test_the_penalty_and_its_gradient_by_hand(strategy: Ewc | Mas, experience: Experience) -> None:
    state, model = strategy.new_state(seeded(0, "strategy")), TintModel()
    state.keep([torch.tensor(ANCHOR), torch.tensor([7.0])], [torch.tensor(IMPORTANCE), torch.zeros(1)])
    with torch.no_grad():
        model.tint.copy_(torch.tensor(ANCHOR) + torch.tensor(MOVED))
        model.idle.add_(5.0)
    pixels = some_pixels(experience.train, 32)
    rendering = model.render_pixels(pixels)
    parts = strategy.loss(state, rendering, pixels, cast(Model, model))
    assert parts.keys() == {"new", "penalty"}
    assert parts["new"].item() == pytest.approx((rendering.rgb - pixels.colours).square().mean().item())
    # 1 * 0.5^2 + 4 * 0.25^2 + 0.25 * 1^2 = 0.75, times a third of the weight.
    weight = strategy.penalty_weight
    assert parts["penalty"].item() == pytest.approx(weight / 3.0 * 0.75)
    penalty, idle = torch.autograd.grad(parts["penalty"], [model.tint, model.idle], retain_graph=True)
    assert penalty.tolist() == pytest.approx(
        [2.0 * weight / 3.0 * f * d for f, d in zip(IMPORTANCE, MOVED, strict=True)]
    )
    assert idle.tolist() == [0.0], "what does not matter is free"
    # What is minimised is the sum: d new / d tint_c is the mean over pixels of 2 / 3 * error_c * direction_c.
    torch.stack(list(parts.values())).sum().backward()
    directions = rendering.rgb.detach() / model.tint.detach()
    closed = 2.0 / 3.0 * ((rendering.rgb.detach() - pixels.colours) * directions).mean(0)
    assert model.tint.grad is not None
    torch.testing.assert_close(model.tint.grad, closed + penalty)


def test_a_weight_of_one_is_the_growth_of_the_pasts_mean_squared_error(experience: Experience) -> None:
    # Of this model the Fisher matrix is diagonal and the error quadratic: the penalty is exact.
    strategy, state, model = measured("ewc:importance-rays=20000,ewc-lambda=1", experience)
    torch.testing.assert_close(state.anchors[0], model.tint.detach(), rtol=1e-3, atol=1e-3)
    change = torch.tensor([0.1, -0.2, 0.3])
    with torch.no_grad():
        model.tint.add_(change)
    pixels = some_pixels(experience.train, 8)
    penalty = strategy.loss(state, model.render_pixels(pixels), pixels, cast(Model, model))["penalty"]
    growth = (change * directions_of(experience.train)).square().mean()
    torch.testing.assert_close(penalty.detach(), growth, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("strategy", [Ewc(), Mas()])
def test_without_a_past_there_is_no_penalty(strategy: Ewc | Mas, experience: Experience) -> None:
    state, model = strategy.new_state(seeded(0, "strategy")), TintModel()
    strategy.begin(state, experience, cast(Model, model))
    pixels = some_pixels(experience.train, 8)
    assert strategy.loss(state, model.render_pixels(pixels), pixels, cast(Model, model)).keys() == {"new"}
    assert state.nbytes == 0
