"""What a comparison runs: configurations divided by budgets, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ConfigurationText
from nerfcl.config.experiment import Experiment, SceneSettings
from nerfcl.config.streams import FrameStream, StreamSettings, TaskStream
from nerfcl.errors import NerfclError
from nerfcl.experiments.plan import plan, shares_first_task
from nerfcl.strategies import STRATEGIES

STREAMS = (TaskStream(), FrameStream())


def comparison(scene: Path, stream: StreamSettings, *texts: str, budgets: tuple[int, ...] = ()) -> Comparison:
    return Comparison(
        experiment=Experiment(scene=SceneSettings(data=str(scene), size=(16, 16)), stream=stream, device="cpu"),
        configurations=tuple(ConfigurationText.parse(text).build({})[0] for text in texts),
        budgets=budgets,
    )


@pytest.mark.parametrize("stream", STREAMS)
def test_each_configuration_becomes_one_for_each_budget(
    stream: StreamSettings, shared_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["finetune", "a b=replay", "few=replay:memory-rays=5", "agem", "joint"]
    planned = plan(comparison(shared_scene, stream, *texts, budgets=(60, 2048, 4096)))
    labels = ["finetune", "a b @ 2K", "a b @ 4K", "few", "agem @ 2K", "agem @ 4K", "joint"]
    assert [part.label for part in planned] == labels
    assert planned[1].folder(3) == Path("seed-3/a-b-2K")
    assert planned[1].strategy == planned[1].configuration.strategy
    left_out = ["a b: nothing useful fits into 60; left out", "agem: nothing useful fits into 60; left out"]
    assert capsys.readouterr().err.splitlines() == left_out


@pytest.mark.parametrize("stream", STREAMS)
def test_runs_of_one_stream_share_it(stream: StreamSettings, shared_scene: Path) -> None:
    finetune, few, joint = plan(comparison(shared_scene, stream, "finetune", "replay:memory-rays=5", "joint"))
    assert finetune.prepared is few.prepared
    at_once = isinstance(stream, FrameStream)
    assert (joint.prepared is finetune.prepared) == (not at_once)
    assert len(joint.prepared.stream) == (1 if at_once else 2)


@pytest.mark.parametrize("stream", STREAMS)
def test_budgets_that_no_configuration_can_meet_are_refused(stream: StreamSettings, shared_scene: Path) -> None:
    with pytest.raises(NerfclError, match="budget_bytes='20 30': is too small for every strategy"):
        plan(comparison(shared_scene, stream, "replay", "agem", budgets=(20, 30)))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["replay", "replay-2K=agem:memory-rays=5"], "'replay-2K' gives two configurations the same folder"),
        (["finetune", "first-task=replay:memory-rays=5"], "'first-task' is reserved by the comparison"),
    ],
)
def test_folders_may_not_meet(texts: list[str], words: str, shared_scene: Path) -> None:
    with pytest.raises(NerfclError, match=words):
        plan(comparison(shared_scene, TaskStream(), *texts, budgets=(2048,)))


def test_only_memories_that_take_rays_during_training_do_not_share_the_first_task() -> None:
    texts = [*STRATEGIES, "replay:memory-fill=highest", "agem:memory-fill=lowest", "replay:memory-fill=reservoir"]
    alone = [text for text in texts if not shares_first_task(ConfigurationText.parse(text).build({})[0].strategy)]
    assert alone == ["replay:memory-fill=highest", "agem:memory-fill=lowest"]
