"""Replay of stored rays and images: what is stored, and with which colours and losses."""

from __future__ import annotations

import pytest
import torch

from nerfcl.memory.rays import RayMemorySettings
from nerfcl.randomness import seeded
from nerfcl.strategies.replay import Replay
from nerfcl.streams.stream import Stream
from strategies.parts import direction_model, rendering_of, some_pixels, state_after, strategy_of


@pytest.mark.parametrize(("name", "fraction"), [("replay", 0.875), ("replay-images", 0.75)])
def test_the_past_may_have_more_than_half_of_a_step(name: str, fraction: float, stream: Stream) -> None:
    strategy, (_, model) = strategy_of(f"{name}:replay-fraction={fraction}"), direction_model()
    state = strategy.new_state(seeded(0, "strategy"))
    new = some_pixels(stream[0].train, 64)
    assert strategy.batch(state, new) is new
    strategy.end(state, stream[0], model)
    batch = strategy.batch(state, some_pixels(stream[1].train, 64, 1))
    assert (batch.new, len(batch)) == (round(128 * (1.0 - fraction)), 128)


def test_the_loss_of_a_replay_with_soft_targets_has_three_parts(stream: Stream) -> None:
    strategy, (_, model) = Replay(RayMemorySettings(rays=50), soft_targets=True), direction_model(0.5)
    state = state_after(strategy, stream[0], model)
    strategy.begin(state, stream[1], model)
    batch = strategy.batch(state, some_pixels(stream[1].train, 32))
    assert (len(batch), batch.new) == (64, 32)
    assert batch.soft is not None
    rgb = torch.rand(64, 3, generator=seeded(0, "rgb"))
    parts = strategy.loss(state, rendering_of(rgb), batch, model)
    assert parts["new"].item() == pytest.approx(((rgb[:32] - batch.colours[:32]) ** 2).mean().item())
    assert parts["replay"].item() == pytest.approx(((rgb[32:] - batch.colours[32:]) ** 2).mean().item())
    assert parts["distill"].item() == pytest.approx(((rgb[:32] - batch.soft) ** 2).mean().item())
    assert len(parts) == 3


def test_soft_replay_replays_what_the_model_rendered(stream: Stream) -> None:
    strategy = Replay(RayMemorySettings(rays=60, soft_replay=True))
    known, model = direction_model(0.8)
    views, state = stream[0].train, state_after(strategy, stream[0], model)
    assert known.rays == 60, "only what is kept is rendered"
    past = strategy.batch(state, some_pixels(stream[1].train, 40))
    view = (past.poses[40:, None, :3, 3] - views.poses[None, :, :3, 3]).norm(dim=-1).argmin(1)
    place = view * 256 + past.rows[40:] * 16 + past.columns[40:]
    torch.testing.assert_close(past.colours[40:] * 255.0, known.images_of(views)[place].float(), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_stored_losses_are_the_models_squared_errors(per_pixel: int, stream: Stream) -> None:
    strategy = Replay(RayMemorySettings(rays=100, fill="topk"), rays_per_pixel=per_pixel)
    known, model = direction_model(0.8)
    views, state = stream[0].train, state_after(strategy, stream[0], model)
    errors = ((known.colours_of(views, per_pixel) - views.images.view(-1, 3).float() / 255.0) ** 2).mean(-1)
    stored = state.memory.losses.float().sort(descending=True).values
    torch.testing.assert_close(stored, errors.topk(100).values, rtol=2**-8, atol=0.0)


@pytest.mark.parametrize("update", [False, True])
def test_the_latest_errors_are_stored_where_that_is_asked_for(update: bool, stream: Stream) -> None:
    strategy = Replay(RayMemorySettings(rays=200, draw="weighted"), update_losses=update)
    _, model = direction_model()
    state = state_after(strategy, stream[0], model)
    before = state.memory.losses.clone()
    batch = strategy.batch(state, some_pixels(stream[1].train, 50))
    rgb = torch.rand(100, 3, generator=seeded(0, "rgb"), requires_grad=True)
    strategy.loss(state, rendering_of(rgb), batch, model)
    after, places = state.memory.losses, batch.indices[50:]
    expected = before.clone()
    if update:
        expected[places] = ((rgb.detach() - batch.colours) ** 2).mean(-1)[50:].to(torch.bfloat16)
        assert (after[places] != before[places]).float().mean() > 0.9
    assert torch.equal(after, expected)
    assert not after.requires_grad


def test_a_batch_of_the_present_alone_updates_nothing(stream: Stream) -> None:
    strategy, (_, model) = Replay(RayMemorySettings(draw="topk"), update_losses=True), direction_model()
    state = state_after(strategy, stream[0], model)
    before = state.memory.losses.clone()
    rgb = torch.rand(50, 3, generator=seeded(0, "rgb"))
    parts = strategy.loss(state, rendering_of(rgb), some_pixels(stream[1].train, 50), model)
    assert parts.keys() == {"new"}
    assert torch.equal(state.memory.losses, before)
