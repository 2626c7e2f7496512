"""A-GEM: the projection against its closed form, and what it does to a field's gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.models.settings import GridModel
from nerfcl.scenes import load_scene
from nerfcl.strategies.agem import AGem, AGemState, project
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.tasks import Stream, make_stream
from nerfcl.training.learner import TrainingSettings, new_learner
from nerfcl.training.loop import learn
from nerfcl.training.optimisation import OptimisationSettings

SHORT = TrainingSettings(steps=10, rays=128, optimisation=OptimisationSettings(warm_up=2), evaluate_every=99,
                         frame_every=99)  # fmt: skip

Gradients = list[Tensor | None]


@pytest.fixture
def stream(shared_scene: Path) -> Stream:
    return make_stream(load_scene(shared_scene), ["right", "left"])


@pytest.fixture
def build(shared_scene: Path) -> Callable[[], Model]:
    settings = GridModel.for_scene(load_scene(shared_scene), finest=16)
    return lambda: settings.build(3)


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


def test_by_hand() -> None:
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


def gradient_of(model: Model) -> Tensor:
    parameters = list(model.parameters())
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]).double()


@dataclass(frozen=True)
class Spying(AGem):
    """Notes the gradients of the present before and after, and that of the past."""

    def after_backward(self, state: Any, model: Model) -> None:
        before = gradient_of(model)
        had_a_past = len(state.memory) > 0
        super().after_backward(state, model)
        if had_a_past:
            state.notes.append((before, state.past, gradient_of(model), state.projected))

    def new_state(self, generator: torch.Generator) -> AGemState:
        state: Any = super().new_state(generator)
        state.notes = []
        return state

    def loss(self, state: Any, rendering: Rendering, batch: Pixels) -> dict[str, Tensor]:
        parts = super().loss(state, rendering, batch)
        if batch.new == 0:
            state.batches = [*getattr(state, "batches", []), batch]
            model_parameters = state.parameters
            gradients = torch.autograd.grad(parts["new"], model_parameters, retain_graph=True, allow_unused=True)
            state.past = torch.cat(
                [(torch.zeros_like(p) if g is None else g).flatten()
                 for p, g in zip(model_parameters, gradients, strict=True)]
            ).double()  # fmt: skip
        return parts

    def begin(self, state: Any, experience: Any, model: Model) -> None:
        super().begin(state, experience, model)
        state.parameters = list(model.parameters())


def test_no_step_raises_the_loss_on_the_past_to_first_order(stream: Stream, build: Callable[[], Model]) -> None:
    # The left side, then the same cameras with other colours: what is new contradicts what is kept.
    contradiction = [stream[1], _negative(stream[1])]
    learner = new_learner(Spying(memory_rays=300), build, 3)
    learn(tuple(contradiction), learner, SHORT)
    notes, projected = learner.state.notes, 0
    assert len(notes) == 10, "the first experience has no past"
    for before, past, after, count in notes:
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
    assert learner.strategy.figures(learner.state)["projected_share"] == projected / 10
    for batch in learner.state.batches:
        assert (len(batch), batch.new) == (128, 0)
        assert (batch.poses[:, 0, 3] <= 0.0).all()


def _negative(experience: Any) -> Any:
    from dataclasses import replace

    train = replace(experience.train, images=255 - experience.train.images)
    return replace(experience, name="negative", train=train)


def test_without_a_past_it_is_fine_tuning(stream: Stream, build: Callable[[], Model]) -> None:
    ends = []
    for strategy in (AGem(), FineTune()):
        learner = new_learner(strategy, build, 3)
        learn(stream, learner, SHORT, until=1)
        ends.append([parameter.detach().clone() for parameter in learner.model.parameters()])
        assert "projected_share" not in strategy.figures(learner.state)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_repeated_past_seldom_needs_a_projection(stream: Stream, build: Callable[[], Model]) -> None:
    learner = new_learner(AGem(memory_rays=None), build, 3)
    learn((stream[0], stream[0]), learner, SHORT)
    same = learner.state.projected
    learner = new_learner(AGem(memory_rays=None), build, 3)
    learn((stream[0], _negative(stream[0])), learner, SHORT)
    assert learner.state.constrained == 10
    assert same <= 3 < learner.state.projected


def test_its_state_goes_on_exactly(stream: Stream, build: Callable[[], Model]) -> None:
    strategy, pasts = AGem(memory_rays=200), []
    learner = new_learner(strategy, build, 3)
    learn((stream[0], _negative(stream[0])), learner, SHORT)
    saved = copy.deepcopy(learner.state.state_dict())
    other = strategy.new_state(torch.Generator().manual_seed(77))
    other.load_state_dict(saved)
    assert strategy.figures(other) == strategy.figures(learner.state)
    assert strategy.figures(other)["projected_share"] > 0.0
    for state in (learner.state, other):
        state.batch = 50
        model = copy.deepcopy(learner.model)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        strategy.after_backward(state, model)
        pasts.append((gradient_of(model), state.memory.draw(20).colours, state.constrained, state.nbytes))
    assert torch.equal(pasts[0][0], pasts[1][0])
    assert torch.equal(pasts[0][1], pasts[1][1])
    assert pasts[0][2:] == pasts[1][2:]


@pytest.mark.parametrize("fill", ["highest", "lowest"])
def test_memories_that_are_filled_while_learning_hold_something_here_too(
    fill: str, stream: Stream, build: Callable[[], Model]
) -> None:
    strategy = AGem(memory_rays=100, memory_fill=fill)
    learner = new_learner(strategy, build, 3)
    learn(stream, learner, SHORT)
    assert len(learner.state.memory) == 100
    assert learner.state.constrained == 10, "nothing is past while the first experience is learned"


@pytest.mark.parametrize(
    ("knobs", "option"),
    [
        ({"memory_rays": 0}, "--memory-rays 0"),
        ({"memory_fill": "best"}, "--memory-fill best"),
        ({"memory_draw": "best"}, "--memory-draw best"),
        ({"exploration": 0.5}, "--memory-draw weighted"),
        ({"rays_per_pixel": 3}, "--rays-per-pixel 3"),
    ],
)
def test_knobs_that_cannot_work_are_refused_by_name(knobs: dict[str, Any], option: str) -> None:
    with pytest.raises(NerfclError, match=option):
        AGem(**knobs)
