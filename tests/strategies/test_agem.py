"""A-GEM: the projection against its closed form, and what it does to a field's gradient."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.agem import AGem, AGemState, project
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Experience, Stream
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import learn
from nerfcl.training.settings import OptimiserSettings, TrainingSettings
from support.learning import same, small_model, weights_of

SHORT = TrainingSettings(steps=10, rays=128, optimiser=OptimiserSettings(warm_up=2), evaluation=None)

Gradients = list[Tensor | None]


# --- the projection ---


def flat(gradients: Gradients, like: list[tuple[int, ...]]) -> np.ndarray:
    """One long vector, zeros where there is no gradient."""
    parts = [np.zeros(shape) if g is None else g.double().numpy() for g, shape in zip(gradients, like, strict=True)]
    return np.concatenate([part.ravel() for part in parts])


@given(st.integers(0, 10_000))
def test_the_projection_is_the_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = [(3, 4), (5,), (2, 2, 2), (1,)]
    lists: list[Gradients] = [
        [None if rng.random() < 0.25 else torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes]
        for _ in range(2)
    ]
    present, past = lists
    g, r = flat(present, shapes), flat(past, shapes)
    kept = copy.deepcopy(past)
    changed = project(present, past)
    assert changed == (g @ r < 0.0)
    expected = g - (g @ r) / (r @ r) * r if changed else g
    np.testing.assert_allclose(flat(present, shapes), expected, rtol=1e-4, atol=1e-5)
    assert flat(present, shapes) @ r >= -1e-4 * np.linalg.norm(g) * np.linalg.norm(r)
    np.testing.assert_array_equal(flat(past, shapes), flat(kept, shapes))


def test_the_projection_by_hand() -> None:
    # g = (1, -3), r = (0, 2): g . r = -6, r . r = 4, so g + 1.5 r = (1, 0).
    present: Gradients = [torch.tensor([1.0]), torch.tensor([-3.0])]
    assert project(present, [torch.tensor([0.0]), torch.tensor([2.0])])
    assert [float(g) for g in present if g is not None] == [1.0, 0.0]


def test_a_parameter_that_only_the_past_moves_gets_a_gradient() -> None:
    # g = (2, 0), r = (-1, 1): g . r = -2, r . r = 2, so g + r = (1, 1).
    present: Gradients = [torch.tensor([2.0]), None]
    assert project(present, [torch.tensor([-1.0]), torch.tensor([1.0])])
    assert [float(g) for g in present if g is not None] == [1.0, 1.0]


def test_a_parameter_that_only_the_present_moves_is_left_alone() -> None:
    own = torch.tensor([7.0])
    present: Gradients = [torch.tensor([2.0]), own]
    assert project(present, [torch.tensor([-1.0]), None])
    assert float(own) == 7.0
    assert present[0] is not None
    assert float(present[0]) == 0.0


@pytest.mark.parametrize("past", [[None, None], [torch.zeros(2), None], [torch.tensor([0.0, 1.0]), torch.zeros(1)]])
def test_gradients_that_do_not_disagree_stay_as_they_are(past: Gradients) -> None:
    present: Gradients = [torch.tensor([1.0, 0.0]), torch.tensor([-2.0])]
    assert not project(present, past)
    assert [g.tolist() for g in present if g is not None] == [[1.0, 0.0], [-2.0]]


# --- on a field ---


def learned(strategy: Strategy, scene: Scene, experiences: tuple[Experience, ...], until: int | None = None) -> Learner:
    learner = new_learner(strategy, small_model(scene), 3)
    learn(Stream(experiences), learner, SHORT, until=until)
    return learner


def negative(experience: Experience) -> Experience:
    """The same views with other colours: what they say contradicts the experience."""
    train = replace(experience.train, images=255 - experience.train.images)
    return replace(experience, name="negative", train=train)


def gradient_of(model: Model) -> Tensor:
    parameters = list(model.parameters())
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]).double()


class Notes(AGemState):
    """Gradients of the present before and after each step with a past, that of the past, and what was replayed."""

    gradients: list[tuple[Tensor, Tensor, Tensor, int]]
    batches: list[Pixels]
    past: Tensor


@dataclass(frozen=True)
class Noting(AGem):
    """A-GEM that notes what it does."""

    def new_state(self, generator: torch.Generator) -> AGemState:
        made = super().new_state(generator)
        state = Notes(made.memory, made.generator)
        state.gradients, state.batches = [], []
        return state

    def loss(self, state: AGemState, rendering: Rendering, batch: Pixels, model: Model) -> dict[str, Tensor]:
        parts = super().loss(state, rendering, batch, model)
        assert isinstance(state, Notes)
        if batch.new == 0:
            state.batches.append(batch)
            parameters = list(model.parameters())
            found = torch.autograd.grad(parts["new"], parameters, retain_graph=True, allow_unused=True)
            filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
            state.past = torch.cat([g.flatten() for g in filled]).double()
        return parts

    def after_backward(self, state: AGemState, model: Model) -> None:
        assert isinstance(state, Notes)
        before = gradient_of(model)
        had_a_past = len(state.memory) > 0
        super().after_backward(state, model)
        if had_a_past:
            state.gradients.append((before, state.past, gradient_of(model), state.projected))


def test_no_step_raises_the_loss_on_the_past_to_first_order(scene: Scene, stream: Stream) -> None:
    learner = learned(Noting(RayMemorySettings(rays=300)), scene, (stream[1], negative(stream[1])))
    projected = 0
    assert len(learner.state.gradients) == 10, "the first experience has no past"
    for before, past, after, count in learner.state.gradients:
        disagreed = float(before @ past) < 0.0
        projected += disagreed
        assert count == projected
        scale = float(before.norm() * past.norm())
        assert scale > 0.0
        assert float(after @ past) >= -1e-4 * scale
        if disagreed:
            expected = before - float(before @ past) / float(past @ past) * past
            torch.testing.assert_close(after, expected, rtol=1e-3, atol=1e-6 * float(before.norm()))
            assert abs(float(after @ past)) < 1e-3 * scale
        else:
            assert torch.equal(after, before)
    assert projected > 0
    assert learner.strategy.metrics(learner.state)["projected_fraction"] == projected / 10
    for batch in learner.state.batches:
        assert (len(batch), batch.new) == (128, 0)
        assert (batch.poses[:, 0, 3] <= 0.0).all()


def test_without_a_past_it_is_fine_tuning(scene: Scene, stream: Stream) -> None:
    ends = []
    for strategy in (AGem(), FineTune()):
        learner = learned(strategy, scene, stream.experiences, until=1)
        ends.append(weights_of(learner))
        assert "projected_fraction" not in strategy.metrics(learner.state)
    assert same(ends[0], ends[1])


def test_a_repeated_past_seldom_needs_a_projection(scene: Scene, stream: Stream) -> None:
    everything = AGem(RayMemorySettings(rays=None))
    repeated = learned(everything, scene, (stream[0], stream[0])).state
    contradicted = learned(everything, scene, (stream[0], negative(stream[0]))).state
    assert repeated.constrained == contradicted.constrained == 10
    assert repeated.projected <= 3 < contradicted.projected


def test_its_state_goes_on_exactly(scene: Scene, stream: Stream) -> None:
    strategy = AGem(RayMemorySettings(rays=200))
    learner = learned(strategy, scene, (stream[0], negative(stream[0])))
    twin = strategy.new_state(torch.Generator().manual_seed(77))
    twin.load_state_dict(copy.deepcopy(learner.state.state_dict()))
    assert strategy.metrics(twin) == strategy.metrics(learner.state)
    assert strategy.metrics(twin)["projected_fraction"] > 0.0
    ends: list[Any] = []
    for state in (learner.state, twin):
        state.batch = 50
        model = copy.deepcopy(learner.model)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        strategy.after_backward(state, model)
        ends.append((gradient_of(model), state.memory.draw(20).colours, state.constrained, state.nbytes))
    assert same(ends[0], ends[1])


@pytest.mark.parametrize("fill", ["highest", "lowest"])
def test_memories_that_are_filled_during_training_hold_something_here_too(
    fill: str, scene: Scene, stream: Stream
) -> None:
    state = learned(AGem(RayMemorySettings(rays=100, fill=fill)), scene, stream.experiences).state
    assert len(state.memory) == 100
    assert state.constrained == 10, "nothing is past while the first experience is learned"
