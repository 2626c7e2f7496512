"""Going on, from a checkpoint or from what another learner learned first: it ends as if there had been no stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from nerfcl.errors import NerfclError
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.settings import model_settings
from nerfcl.scenes.scene import Scene
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.stream import Stream
from nerfcl.training.checkpoints import evaluated_model, load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import Learner
from nerfcl.training.loop import adopt_first_experience, learn
from nerfcl.training.settings import OptimiserSettings, TrainingSettings
from support.learning import plain_history, same, weights_of
from training.small import ON_CHUNKS, ON_TASKS, MakeLearner, Recorder

Ended = tuple[list, str]  # weights, history

BY_EPOCHS = replace(
    ON_TASKS, epochs=2, optimiser=OptimiserSettings(schedule="poly", warmup_epochs=1), keep_optimiser=True
)
WEIGHTED = "replay:memory-rays=200,memory-draw=weighted,exploration=0.25,update-losses"
MANY_OPTIONS = (
    "replay:memory-rays=200,memory-fill=topk,memory-draw=weighted,exploration=0.25,centre-weight=0.25,soft-replay,"
    "update-losses,soft-targets"
)
WITHOUT_BOUNDARIES = [
    "finetune",
    "replay:memory-rays=90,memory-fill=reservoir",
    "replay:memory-rays=90,memory-fill=highest,memory-draw=weighted,exploration=0.25,update-losses",
    "replay:memory-rays=90,memory-fill=lowest",
    "replay:memory-rays=90,memory-fill=loss-grid",
    "replay-all",
    "agem:memory-rays=90",
    "replay-images:memory-bytes=1500,replay-fraction=0.75",
    "generative:snapshot-every=2",
    "generative-free",
    "replay+:memory-rays=90",
    "replay+:memory-bytes=1500",
    "ewc:importance-rays=32",
]


@pytest.fixture(scope="module")
def uninterrupted(learner_of: MakeLearner) -> Callable[[str, Stream, TrainingSettings], Ended]:
    """Learns a stream without a stop; remembers how that ended."""
    known: dict[tuple[str, TrainingSettings], Ended] = {}

    def learned(text: str, stream: Stream, settings: TrainingSettings) -> Ended:
        if (text, settings) not in known:
            learner = learner_of(text)
            learn(stream, learner, settings)
            known[text, settings] = weights_of(learner), plain_history(learner.history)
        return known[text, settings]

    return learned


@pytest.fixture
def reloaded(scene: Scene, learner_of: MakeLearner, tmp_path: Path) -> Callable[..., Learner]:
    """Saves a learner, and makes another one that goes on from the file, as another process would."""
    model = model_settings(scene, HashGridSettings(max_resolution=16))

    def reload(learner: Learner, text: str, optimiser: OptimiserSettings) -> Learner:
        save_checkpoint(tmp_path / "a.pt", learner, {"seed": 3}, model, extra={"more": [1, 2]})
        checkpoint = load_checkpoint(tmp_path / "a.pt")
        assert (checkpoint.model_settings, checkpoint.experiment) == (model, {"seed": 3})
        assert checkpoint.extra == {"more": [1, 2]}
        assert same(*(list(m.parameters()) for m in (evaluated_model(checkpoint), learner.evaluated_model)))
        other = learner_of(text)
        other.model = model.build(99)  # what it begins with does not matter
        resume(other, checkpoint, optimiser)
        assert (other.history.steps, other.done, other.at) == (learner.history.steps, learner.done, learner.at)
        return other

    return reload


@pytest.mark.parametrize("settings", [ON_TASKS, BY_EPOCHS], ids=["steps", "epochs"])
@pytest.mark.parametrize("text", [*STRATEGIES, MANY_OPTIONS])
def test_a_run_resumed_between_two_tasks_ends_as_without_a_stop(
    text: str,
    settings: TrainingSettings,
    tasks: Stream,
    learner_of: MakeLearner,
    uninterrupted: Callable[..., Ended],
    reloaded: Callable[..., Learner],
) -> None:
    learner = learner_of(text)
    learn(tasks, learner, settings, until=1)
    learner = reloaded(learner, text, settings.optimiser)
    assert (learner.done, learner.at) == (1, 0)
    history = learn(tasks, learner, settings)
    assert same((weights_of(learner), plain_history(history)), uninterrupted(text, tasks, settings))


AVERAGED = replace(ON_TASKS, optimiser=OptimiserSettings(warm_up=2, ema_decay=0.8))


@pytest.mark.parametrize("settings", [ON_TASKS, BY_EPOCHS, AVERAGED], ids=["steps", "epochs", "averaged"])
@pytest.mark.parametrize("text", [*STRATEGIES, MANY_OPTIONS])
def test_a_run_that_adopts_the_first_experience_ends_as_one_that_learned_it(
    text: str,
    settings: TrainingSettings,
    tasks: Stream,
    learner_of: MakeLearner,
    uninterrupted: Callable[..., Ended],
) -> None:
    learner, first = learner_of(text), learner_of(FineTune())
    learn(tasks, first, settings, until=1)
    adopt_first_experience(learner, first, tasks)
    history = learn(tasks, learner, settings)
    assert same((weights_of(learner), plain_history(history)), uninterrupted(text, tasks, settings))


@pytest.mark.parametrize(
    ("text", "optimiser", "stops"),
    [
        *((text, name, (19,)) for text in ("finetune", WEIGHTED, "soft-targets") for name in ("adam", "sgd")),
        (MANY_OPTIONS, "radam", (3, 15)),
        ("joint", "adam", (21,)),
        ("replay", "adam", (7, 14, 22)),
    ],
)
def test_a_run_resumed_within_a_task_ends_as_without_a_stop(
    text: str,
    optimiser: str,
    stops: tuple[int, ...],
    tasks: Stream,
    learner_of: MakeLearner,
    uninterrupted: Callable[..., Ended],
    reloaded: Callable[..., Learner],
) -> None:
    rate = 0.5 if optimiser == "sgd" else 0.02
    settings = replace(ON_TASKS, optimiser=OptimiserSettings(optimiser=optimiser, warm_up=2, learning_rate=rate))
    learner = learner_of(text)
    for stop in stops:
        learn(tasks, learner, settings, [Recorder(stop)])
        assert learner.at > 0
        learner = reloaded(learner, text, settings.optimiser)
        assert learner.history.steps == stop
    rest = Recorder()
    history = learn(tasks, learner, settings, [rest])
    total = 36 if text == "joint" else 24
    assert [report.step for report in rest.reports] == list(range(stops[-1] + 1, total + 1))
    assert {report.last_step for report in rest.reports} == {total}
    assert same((weights_of(learner), plain_history(history)), uninterrupted(text, tasks, settings))


@pytest.mark.parametrize("stops", [(5,), (10,), (3,), (7, 13), (1, 9)], ids=str)
@pytest.mark.parametrize("text", WITHOUT_BOUNDARIES)
def test_a_run_resumed_after_or_within_a_chunk_ends_as_without_a_stop(
    text: str,
    stops: tuple[int, ...],
    chunks: Stream,
    learner_of: MakeLearner,
    uninterrupted: Callable[..., Ended],
    reloaded: Callable[..., Learner],
) -> None:
    learner = learner_of(text)
    for stop in stops:
        if stop % 5:
            learn(chunks, learner, ON_CHUNKS, [Recorder(stop)])
        else:
            learn(chunks, learner, ON_CHUNKS, until=stop // 5)
        learner = reloaded(learner, text, ON_CHUNKS.optimiser)
        assert (learner.history.steps, learner.done, learner.at) == (stop, stop // 5, stop % 5)
    history = learn(chunks, learner, ON_CHUNKS)
    assert history.steps == 15
    assert same((weights_of(learner), plain_history(history)), uninterrupted(text, chunks, ON_CHUNKS))


def test_a_checkpoint_of_another_optimiser_is_refused(
    tasks: Stream, learner_of: MakeLearner, reloaded: Callable[..., Learner]
) -> None:
    learner = learner_of(FineTune())
    learn(tasks, learner, replace(ON_TASKS, evaluation=None), until=1)
    with pytest.raises(NerfclError, match=r"the checkpoint does not match what this run trains .*optimiser"):
        reloaded(learner, "finetune", OptimiserSettings(optimiser="sgd"))


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"weights": torch.ones(3)}, tmp_path / "other.pt")
    for name, message in (
        ("none.pt", "no such checkpoint"), ("text.pt", "is damaged, or is not a nerf"), ("other.pt", "is not a nerf")
    ):  # fmt: skip
        with pytest.raises(NerfclError, match=f"{name}: {message}"):
            load_checkpoint(tmp_path / name)


def test_a_full_disk_leaves_the_checkpoint_before(
    learner_of: MakeLearner, reloaded: Callable[..., Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(FineTune())
    reloaded(learner, "finetune", OptimiserSettings())

    def fail(content: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise RuntimeError("no space left")  # as torch's writer does

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(NerfclError, match="cannot be written"):
        reloaded(learner, "finetune", OptimiserSettings())
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert load_checkpoint(tmp_path / "a.pt").done == 0
