"""Strategies that keep a snapshot: what they replay is what the model rendered, from where the past was seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from nerfcl.cli.options import Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy
from nerfcl.memory.cameras import Frames
from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.memory.snapshots import Snapshot
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import GridModel
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.strategies.generative import GenerativeState
from nerfcl.strategies.replay_plus import ReplayPlusState
from nerfcl.streams.pixels import Pixels, pixels_at
from nerfcl.streams.tasks import Stream, make_stream

DREAMING = ["generative", "generative-free", "distill", "replay+:memory-rays=1"]


@pytest.fixture
def stream(tiny_scene_folder: Path) -> Stream:
    return make_stream(load_scene(tiny_scene_folder), ["right", "left"])


@pytest.fixture
def model(tiny_scene_folder: Path) -> OccupancyModel:
    built = GridModel.for_scene(load_scene(tiny_scene_folder), finest=16).build(0)
    with torch.no_grad():
        built.field.table.copy_(torch.randn(built.field.table.shape, generator=seeded(0, "table")))
    return built


def some(stream: Stream, count: int = 64) -> Pixels:
    views = stream[1].train
    return pixels_at(views, torch.randint(len(views) * views.height * views.width, (count,), generator=seeded(0, "n")))


def what_the_model_sees(model: OccupancyModel, pixels: Pixels) -> torch.Tensor:
    snapshot = Snapshot()
    snapshot.take(model)
    snapshot.unpack(model)
    return snapshot.render(pixels).rgb.clamp(0.0, 1.0)


@pytest.mark.parametrize("row", DREAMING)
def test_the_past_is_what_the_model_rendered_before_it_changed(row: str, stream: Stream, model: OccupancyModel) -> None:
    strategy = make_strategy(row, Run())
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    strategy.end(state, stream[0], model)
    past = model.snapshot()
    with torch.no_grad():
        model.field.table.zero_()
    strategy.begin(state, stream[1], model)
    batch = strategy.batch(state, some(stream))
    assert batch.new == 64
    dreamed = batch.select(slice(65 if row.startswith("replay+") else 64, None))
    assert len(dreamed)
    torch.testing.assert_close(dreamed.colours, what_the_model_sees(past, dreamed))
    assert not torch.allclose(dreamed.colours, what_the_model_sees(model, dreamed), atol=0.05)


@pytest.mark.parametrize("row", ["generative", "replay+"])
def test_dreams_are_seen_from_past_cameras_all_over_their_images(
    row: str, stream: Stream, model: OccupancyModel
) -> None:
    strategy = make_strategy(row, Run())
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.end(state, stream[0], model)
    strategy.begin(state, stream[1], model)
    assert isinstance(state, GenerativeState | ReplayPlusState)
    pixels = state.dream(2000)
    past = stream[0].train
    which = (pixels.poses[:, None] - past.poses).abs().amax((2, 3)).argmin(1)
    assert torch.equal(pixels.poses, past.poses[which])
    assert torch.equal(pixels.intrinsics, past.intrinsics[which])
    assert which.unique().numel() == len(past)
    assert pixels.columns.unique().tolist() == list(range(past.width))
    assert pixels.rows.unique().tolist() == list(range(past.height))


def test_stored_rays_are_as_many_of_a_step_as_of_the_past(stream: Stream, model: OccupancyModel) -> None:
    pixels = len(stream[0].train) * stream[0].train.height * stream[0].train.width
    for rays, stored in ((pixels // 2, 32), (pixels, 64), (pixels // 64, 1)):
        strategy = make_strategy(f"replay+:memory-rays={rays}", Run())
        state = strategy.new_state(seeded(0, "strategy"))
        strategy.end(state, stream[0], model)
        strategy.begin(state, stream[1], model)
        past = strategy.batch(state, some(stream)).select(slice(64, None))
        seen = what_the_model_sees(model, past)
        assert (past.colours - seen).abs().amax(1).gt(1e-4).nonzero()[-1:].flatten().tolist() in ([], [stored - 1])
        views = stream[0].train
        which = (past.poses[:, None] - views.poses).abs().amax((2, 3)).argmin(1)
        true = (views.images[which, past.rows, past.columns] / 255.0 - past.colours).abs().amax(1) < 1e-6
        assert true[:stored].all()
        assert not true[stored:].all() or stored == 64


def test_rays_have_what_the_snapshot_leaves_of_the_bytes(stream: Stream, model: OccupancyModel) -> None:
    with torch.no_grad():
        model.field.table.zero_()  # so its snapshot is smaller than all rays of so few pixels
    made = Snapshot()
    made.take(model)
    past, camera = stream[0].train, 76 * len(stream[0].train)
    pixels = len(past) * past.height * past.width
    everything = pixels * 11 + camera
    rooms = ((made.nbytes + camera + 50 * 11 + 3, True), (made.nbytes + 86, False), (87, False), (everything, False))
    for room, snapshot in rooms:
        strategy = make_strategy(f"replay+:memory-bytes={room}", Run())
        state = strategy.new_state(seeded(0, "strategy"))
        strategy.end(state, stream[0], model)
        assert bool(state.snapshot) == snapshot
        assert len(state.memory) == (50 if snapshot else 1 if room == 87 else min((room - camera) // 11, pixels))
        assert room < everything or len(state.memory) == pixels
        assert state.nbytes <= room
        strategy.begin(state, stream[1], model)
        batch = strategy.batch(state, some(stream))
        assert len(batch) - batch.new == 64, "as many old rays as new ones, whoever they come from"
        strategy.end(state, stream[1], model)
        assert state.nbytes <= room


def test_rays_that_the_snapshot_is_unsure_of_are_left_out(stream: Stream, model: OccupancyModel) -> None:
    with torch.no_grad():
        model.field.table.mul_(3.0)
    states = []
    for only_sure in (False, True):
        state = GenerativeState(Snapshot(), seeded(0, "dream"), PoseMixture(), only_sure=only_sure)
        state.cameras.add(stream[0].train)
        state.snapshot.take(model)
        state.snapshot.unpack(model)
        states.append(state)
    opacity = states[0].snapshot.render(states[0].dream(2000)).opacity
    unsure = ((opacity > 0.4) & (opacity < 0.6)).float().mean()
    assert 0.02 < unsure < 0.98, "the model is unsure here and there"
    dreamed = states[1].dream(2000)
    opacity = states[1].snapshot.render(dreamed).opacity
    assert ((opacity < 0.4) | (opacity > 0.6)).all()
    assert 0 < len(dreamed) <= 2000


def test_a_snapshot_may_last_for_several_experiences(stream: Stream, model: OccupancyModel) -> None:
    strategy = make_strategy("generative:renew-every=2", Run())
    state = strategy.new_state(seeded(0, "strategy"))
    packed = []
    for _ in range(4):
        with torch.no_grad():
            model.field.table.add_(0.1)
        strategy.end(state, stream[0], model)
        packed.append(state.snapshot.state_dict()["packed"])
    same = [torch.equal(a, b) if len(a) == len(b) else False for a, b in pairwise(packed)]
    assert same == [True, False, True]
    assert len(state.cameras) == 4 * len(stream[0].train)


@pytest.mark.parametrize("cameras", [Frames, PoseMixture])
def test_no_pixel_is_kept(cameras: Callable[[], Frames | PoseMixture], stream: Stream, model: OccupancyModel) -> None:
    state = GenerativeState(Snapshot(), seeded(0, "dream"), cameras(), only_sure=False)
    state.cameras.add(stream[0].train)
    state.snapshot.take(model)
    assert state.nbytes == state.snapshot.nbytes + state.cameras.nbytes
    assert state.cameras.nbytes <= max(76 * len(stream[0].train), 4 * (8 * 55 + 6))


@pytest.mark.parametrize(
    ("row", "option"),
    [
        ("generative:renew-every=0", "--renew-every"),
        ("generative:snapshot-bits=2", "--snapshot-bits"),
        ("replay+:renew-every=0", "--renew-every"),
        ("replay+:memory-bytes=86", "--memory-bytes 86"),
        ("replay+:memory-fill=highest", "use replay"),
        ("replay+:memory-fill=loss-grid", "use replay"),
        ("distill:past-share=1.5", "--past-share"),
    ],
)
def test_knobs_that_cannot_work_are_refused(row: str, option: str) -> None:
    with pytest.raises(NerfclError, match=option):
        make_strategy(row, Run())
