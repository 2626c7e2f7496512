"""A description -> what is needed to run it: streams and their upper bound, orders, what is said of large memories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nerfcl.config.experiment import Experiment, SceneSettings, frames_experiment
from nerfcl.config.streams import FrameStream, PushedStream, TaskStream
from nerfcl.errors import NerfclError
from nerfcl.experiments.prepare import prepare, prepare_all
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.joint import Joint
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.streams.tasks import azimuth
from nerfcl.training.settings import TrainingSettings


@pytest.fixture
def on_frames(shared_scene: Path) -> Experiment:
    """Six frames, two a chunk, 10 steps of 64 rays for each."""
    scene, training = SceneSettings(data=str(shared_scene), size=(16, 16)), TrainingSettings(steps=10, rays=64)
    return Experiment(scene=scene, stream=FrameStream(), training=training, device="cpu")


def test_joint_training_has_all_frames_at_once_for_the_same_steps_and_rays(on_frames: Experiment) -> None:
    stream, joint = prepare_all(on_frames, [Replay(), Joint()])
    assert [len(part.train) for part in stream.stream] == [2, 2, 2]
    assert [len(part.train) for part in joint.stream] == [6]
    assert joint.stream.names == ["all frames"]
    assert (len(joint.stream[0].test), len(joint.stream[0].val)) == (4, 4)
    assert (stream.training.steps, stream.training.rays) == (10, 64)
    assert (joint.training.steps, joint.training.rays) == (30, 128), "half of replay's rays are old ones"
    alone = prepare(replace(on_frames, strategy=Joint()))
    assert (alone.stream.names, alone.training) == (joint.stream.names, joint.training)


@pytest.mark.parametrize("stream", [FrameStream(frames=5), FrameStream(chunk_frames=3, chunks=1)])
def test_joint_training_has_as_many_frames_as_the_others(stream: FrameStream, on_frames: Experiment) -> None:
    others, joint = prepare_all(replace(on_frames, stream=stream), [FineTune(), Joint()])
    names = [name for part in others.stream for name in part.train.names]
    assert joint.stream[0].train.names == tuple(names)
    assert joint.training.steps == 10 * len(others.stream)


def test_tasks_are_the_same_for_joint_training(shared_scene: Path) -> None:
    scene = SceneSettings(data=str(shared_scene), size=(16, 16))
    others, joint = prepare_all(Experiment(scene=scene, device="cpu"), [FineTune(), Joint()])
    assert joint is others
    assert others.title == "tiny at 16x16"


def test_the_order_is_the_one_that_was_asked_for(on_frames: Experiment, tmp_path: Path) -> None:
    listed = tmp_path / "order.txt"
    listed.write_text("5 0 3")
    orders = {}
    for order in ("file", "azimuth", str(listed)):
        stream = prepare(replace(on_frames, stream=FrameStream(order=order, chunk_frames=1))).stream
        orders[order] = [name[-1] for part in stream for name in part.train.names]
        if order == "azimuth":
            angles = [azimuth(part.train.poses)[0] for part in stream]
            assert angles == sorted(angles)
    assert orders["file"] == ["0", "1", "2", "3", "4", "5"]
    assert orders[str(listed)] == ["5", "0", "3"]


@pytest.mark.parametrize(
    ("rays", "note"),
    [
        (768, ""),
        (769, "the memory has room for 769 rays, but all tasks except the last have only 768; all are kept\n"),
        (None, ""),
    ],
)
def test_a_memory_that_holds_all_of_the_past_is_told(
    rays: int | None, note: str, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = SceneSettings(data=str(shared_scene), size=(16, 16))
    prepare(Experiment(scene=scene, strategy=Replay(RayMemorySettings(rays=rays)), device="cpu"))
    assert capsys.readouterr().err == note


def test_there_is_nothing_to_tell_of_other_memories(
    shared_scene: Path, on_frames: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    on_tasks = replace(on_frames, stream=TaskStream())
    alone = replace(on_tasks, stream=TaskStream(tasks=("all",)), strategy=Replay())
    for experiment in (replace(on_tasks, strategy=ReplayAll()), replace(on_frames, strategy=Replay()), alone):
        prepare(experiment)
    assert capsys.readouterr().err == ""


def test_strategies_that_must_be_told_of_tasks_are_refused_on_frames(on_frames: Experiment) -> None:
    with pytest.raises(NerfclError, match="strategy='soft-targets': needs to know where tasks end"):
        prepare(replace(on_frames, strategy=SoftTargetRegularization()))


def test_frames_that_are_pushed_are_refused() -> None:
    with pytest.raises(NerfclError, match="has no scene"):
        prepare(replace(frames_experiment(), scene=None, stream=PushedStream()))
