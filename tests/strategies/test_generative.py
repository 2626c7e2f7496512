"""Strategies that keep a snapshot: what they replay is what the model rendered, from where the past was seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import pytest
import torch

from nerfcl.memory.cameras import Cameras
from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.memory.snapshots import Snapshot, SnapshotSettings
from nerfcl.models.fields.hash_grid import HashGridField
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.randomness import seeded
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.generative import GenerativeState
from nerfcl.strategies.replay_plus import ReplayPlusState
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.stream import Stream
from strategies.parts import some_pixels, state_after, strategy_of
from support.learning import small_model


@pytest.fixture
def model(scene: Scene) -> OccupancyModel:
    model = small_model(scene)()
    assert isinstance(model, OccupancyModel)
    with torch.no_grad():
        table_of(model).copy_(torch.randn(table_of(model).shape, generator=seeded(0, "table")))
    return model


def table_of(model: OccupancyModel) -> torch.nn.Parameter:
    assert isinstance(model.field, HashGridField)
    return model.field.table


def rendered_by(model: OccupancyModel, pixels: Pixels) -> torch.Tensor:
    snapshot = Snapshot(SnapshotSettings())
    snapshot.take(model)
    snapshot.unpack(model)
    return snapshot.render(pixels).rgb.clamp(0.0, 1.0)


@pytest.mark.parametrize("text", ["generative", "generative-free", "distill", "replay+:memory-rays=1"])
def test_the_past_is_what_the_model_rendered_before_it_changed(
    text: str, stream: Stream, model: OccupancyModel
) -> None:
    strategy = strategy_of(text)
    state = state_after(strategy, stream[0], model)
    past = model.snapshot()
    with torch.no_grad():
        table_of(model).zero_()
    strategy.begin(state, stream[1], model)
    batch = strategy.batch(state, some_pixels(stream[1].train, 64))
    assert batch.new == 64
    generated = batch.select(slice(65 if text.startswith("replay+") else 64, None))
    assert len(generated)
    torch.testing.assert_close(generated.colours, rendered_by(past, generated))
    assert not torch.allclose(generated.colours, rendered_by(model, generated), atol=0.05)


@pytest.mark.parametrize("text", ["generative", "replay+"])
def test_generated_pixels_are_seen_from_past_cameras_all_over_their_images(
    text: str, stream: Stream, model: OccupancyModel
) -> None:
    strategy = strategy_of(text)
    state = state_after(strategy, stream[0], model)
    strategy.begin(state, stream[1], model)
    assert isinstance(state, GenerativeState | ReplayPlusState)
    pixels = state.generate(2000)
    past = stream[0].train
    which = (pixels.poses[:, None] - past.poses).abs().amax((2, 3)).argmin(1)
    assert torch.equal(pixels.poses, past.poses[which])
    assert torch.equal(pixels.intrinsics, past.intrinsics[which])
    assert which.unique().numel() == len(past)
    assert pixels.columns.unique().tolist() == list(range(past.width))
    assert pixels.rows.unique().tolist() == list(range(past.height))


def test_stored_rays_are_as_many_of_a_step_as_of_the_past(stream: Stream, model: OccupancyModel) -> None:
    pixels = stream[0].train.pixels
    for rays, stored in ((pixels // 2, 32), (pixels, 64), (pixels // 64, 1)):
        strategy = strategy_of(f"replay+:memory-rays={rays}")
        state = state_after(strategy, stream[0], model)
        strategy.begin(state, stream[1], model)
        past = strategy.batch(state, some_pixels(stream[1].train, 64)).select(slice(64, None))
        seen = rendered_by(model, past)
        assert (past.colours - seen).abs().amax(1).gt(1e-4).nonzero()[-1:].flatten().tolist() in ([], [stored - 1])
        views = stream[0].train
        which = (past.poses[:, None] - views.poses).abs().amax((2, 3)).argmin(1)
        true = (views.images[which, past.rows, past.columns] / 255.0 - past.colours).abs().amax(1) < 1e-6
        assert true[:stored].all()
        assert not true[stored:].all() or stored == 64


def test_rays_have_what_the_snapshot_leaves_of_the_bytes(stream: Stream, model: OccupancyModel) -> None:
    with torch.no_grad():
        table_of(model).zero_()  # so its snapshot is smaller than all rays of so few pixels
    made = Snapshot(SnapshotSettings())
    made.take(model)
    past, camera = stream[0].train, 76 * len(stream[0].train)
    pixels = past.pixels
    everything = pixels * 11 + camera
    rooms = ((made.nbytes + camera + 50 * 11 + 3, True), (made.nbytes + 86, False), (87, False), (everything, False))
    for room, snapshot in rooms:
        strategy = strategy_of(f"replay+:memory-bytes={room}")
        state = state_after(strategy, stream[0], model)
        assert bool(state.snapshot) == snapshot
        assert len(state.memory) == (50 if snapshot else 1 if room == 87 else min((room - camera) // 11, pixels))
        assert room < everything or len(state.memory) == pixels
        assert state.nbytes <= room
        strategy.begin(state, stream[1], model)
        batch = strategy.batch(state, some_pixels(stream[1].train, 64))
        assert len(batch) - batch.new == 64, "as many old rays as new ones, whoever they come from"
        strategy.end(state, stream[1], model)
        assert state.nbytes <= room


def test_rays_that_the_snapshot_is_unsure_of_are_left_out(stream: Stream, model: OccupancyModel) -> None:
    with torch.no_grad():
        table_of(model).mul_(3.0)
    cast("HashGridField", model.field).log_density = -1.5  # a fog that stops about half of the light
    states = []
    for sure_only in (False, True):
        state = GenerativeState(Snapshot(SnapshotSettings()), seeded(0, "generate"), PoseMixture(), sure_only=sure_only)
        state.cameras.add(stream[0].train)
        state.snapshot.take(model)
        state.snapshot.unpack(model)
        states.append(state)
    opacity = states[0].snapshot.render(states[0].generate(2000)).opacity
    unsure = ((opacity > 0.4) & (opacity < 0.6)).float().mean()
    assert 0.02 < unsure < 0.98, "the model is unsure here and there"
    generated = states[1].generate(2000)
    opacity = states[1].snapshot.render(generated).opacity
    assert ((opacity < 0.4) | (opacity > 0.6)).all()
    assert 0 < len(generated) <= 2000


def test_a_snapshot_may_last_for_several_experiences(stream: Stream, model: OccupancyModel) -> None:
    strategy = strategy_of("generative:snapshot-every=2")
    state = strategy.new_state(seeded(0, "strategy"))
    packed = []
    for _ in range(4):
        with torch.no_grad():
            table_of(model).add_(0.1)
        strategy.end(state, stream[0], model)
        packed.append(state.snapshot.state_dict()["packed"])
    same = [torch.equal(a, b) if len(a) == len(b) else False for a, b in pairwise(packed)]
    assert same == [True, False, True]
    assert len(state.cameras) == 4 * len(stream[0].train)


@pytest.mark.parametrize("cameras", [Cameras, PoseMixture])
def test_no_pixel_is_kept(cameras: Callable[[], Cameras | PoseMixture], stream: Stream, model: OccupancyModel) -> None:
    state = GenerativeState(Snapshot(SnapshotSettings()), seeded(0, "generate"), cameras(), sure_only=False)
    state.cameras.add(stream[0].train)
    state.snapshot.take(model)
    assert state.nbytes == state.snapshot.nbytes + state.cameras.nbytes
    assert state.cameras.nbytes <= max(76 * len(stream[0].train), 4 * (8 * 55 + 6))


def test_rays_that_see_nothing_are_kept_as_well_as_those_that_see_something_for_sure(scene: Scene) -> None:
    opacities = torch.tensor([0.0, 0.5, 1.0, 0.39, 0.41, 0.61, 0.59, 0.2])

    class Known(Snapshot):
        def colour(self, pixels: Pixels) -> tuple[Pixels, torch.Tensor]:
            return pixels, opacities.repeat(len(pixels))[: len(pixels)]

    state = GenerativeState(Known(SnapshotSettings()), seeded(0, "a"), Cameras(), sure_only=True)
    assert isinstance(state.cameras, Cameras)
    state.cameras.add(scene.train)
    drawn = state.cameras.sample_pixels(80, seeded(0, "a"))
    kept = state.generate(64)
    sure = ((opacities < 0.4) | (opacities > 0.6)).repeat(10).nonzero()[:, 0]
    assert len(kept) == 50, "of 80"
    assert torch.equal(kept.columns, drawn.columns[sure])
    assert torch.equal(kept.rows, drawn.rows[sure])
