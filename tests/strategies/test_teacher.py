"""Teachers: what the old model renders for new views as soft targets, or what was written down of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nerfcl.memory.rays import RayMemorySettings
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.streams.stream import Stream, TeacherImages
from strategies.parts import direction_model, some_pixels, state_after, strategy_of


@pytest.mark.parametrize("text", ["soft-targets:", "replay:soft-targets,"])
@pytest.mark.parametrize("per_pixel", [1, 4])
def test_soft_targets_are_what_the_model_rendered_before_the_task_began(
    text: str, per_pixel: int, stream: Stream
) -> None:
    strategy = strategy_of(f"{text}rays-per-pixel={per_pixel}")
    known, model = direction_model(0.75)
    state = strategy.new_state(seeded(0, "strategy"))
    strategy.begin(state, stream[0], model)
    assert known.rays == 0, "an untrained model has nothing to teach"
    assert strategy.batch(state, some_pixels(stream[0].train, 16)).soft is None
    strategy.end(state, stream[0], model)
    for experience, past in ((stream[1], 1), (stream[0], 2)):
        strategy.begin(state, experience, model)
        expected = known.images_of(experience.train, per_pixel)
        known.scale *= 0.5  # what is learned now changes nothing
        new = some_pixels(experience.train, 64, past)
        batch = strategy.batch(state, new)
        assert batch.soft is not None
        torch.testing.assert_close(batch.soft * 255.0, expected[new.indices].float(), atol=1e-4, rtol=0.0)
        assert torch.equal(batch.colours[:64], new.colours), "the true colours stay first targets"
        strategy.end(state, experience, model)


def test_soft_targets_count_three_bytes_a_pixel_once_there_is_a_past(stream: Stream) -> None:
    strategy, (_, model) = SoftTargetRegularization(), direction_model()
    state = state_after(strategy, stream[0], model)
    assert state.nbytes == 0
    strategy.begin(state, stream[1], model)
    assert state.nbytes == len(stream[1].train) * 16 * 16 * 3


def test_what_is_written_down_is_taken_instead_of_what_the_model_renders(stream: Stream) -> None:
    views = stream[0].train
    colours = torch.randint(256, (len(views), 16, 16, 3), generator=seeded(0, "colours")).byte()
    order = torch.randperm(views.pixels, generator=seeded(0, "losses")).float()
    losses = (order / views.pixels).view(len(views), 16, 16)
    taught = dataclasses.replace(stream[0], teacher=TeacherImages(colours, losses))
    strategy = Replay(RayMemorySettings(rays=40, fill="topk", draw="topk", soft_replay=True), soft_targets=True)
    known, model = direction_model()
    state = state_after(strategy, taught, model)
    highest = losses.view(-1).topk(40)
    past = state.memory.draw(40)
    stored = state.memory.losses.float().sort(descending=True).values
    torch.testing.assert_close(stored, highest.values, rtol=2**-8, atol=0.0)
    kept = {tuple(colour) for colour in (past.colours * 255.0).round().long().tolist()}
    assert kept == {tuple(colour) for colour in colours.view(-1, 3)[highest.indices].tolist()}
    strategy.begin(state, taught, model)
    new = some_pixels(views, 32)
    soft = strategy.batch(state, new).soft
    assert soft is not None
    torch.testing.assert_close(soft, colours.view(-1, 3)[new.indices].float() / 255.0)
    assert known.rays == 0


@pytest.mark.parametrize("written", ["colours", "losses"])
def test_what_is_not_written_down_is_rendered_by_the_model(written: str, stream: Stream) -> None:
    black = torch.zeros(len(stream[0].train), 16, 16, 3, dtype=torch.uint8)
    losses = torch.full(black.shape[:3], 0.25)
    teacher = TeacherImages(colours=black) if written == "colours" else TeacherImages(losses=losses)
    strategy = Replay(RayMemorySettings(rays=40, draw="weighted", soft_replay=True))
    known, model = direction_model(0.5)
    state = state_after(strategy, dataclasses.replace(stream[0], teacher=teacher), model)
    assert known.rays == 40
    past = state.memory.draw(40)
    assert bool((past.colours == 0.0).all()) is (written == "colours")
    assert bool((state.memory.losses == 0.25).all()) is (written == "losses")
    if written == "losses":
        rays = pixel_rays(past.poses, past.intrinsics, past.columns, past.rows, pixel_offsets(1))
        rendered = (known.colours(rays) * 255.0).round()
        torch.testing.assert_close(past.colours * 255.0, rendered, atol=1e-3, rtol=0.0)


def test_nothing_is_written_down_unless_told(stream: Stream) -> None:
    assert all(experience.teacher is None for experience in stream)
