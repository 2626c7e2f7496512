"""Saved online learners: they go on exactly, wherever they were saved, frames that wait included."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcl.config.experiment import Experiment
from nerfcl.errors import NerfclError
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay, ReplayAll
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.checkpoints import save_checkpoint
from nerfcl.training.learner import new_learner
from online.pushing import RESERVOIR, SETTINGS, STRATEGIES, Gated, learned, push
from support.learning import same
from support.waiting import in_time, wait_until


class HeldAt:
    """Holds a learner after so many steps, until somebody wants to read the model; waits for that."""

    def __init__(self, learner: OnlineLearner, steps: int) -> None:
        self.reached = threading.Event()
        lock, between_steps = learner._lock, learner._lock.between_steps

        def hold() -> None:
            if learner._learner.history.steps == steps and not self.reached.is_set():
                self.reached.set()
                wait_until(lambda: bool(lock._queue))
            between_steps()

        lock.between_steps = hold  # type: ignore[method-assign]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("steps", [3, 5, 7])
def test_what_was_saved_within_a_stream_goes_on_exactly(
    strategy: Strategy, steps: int, scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    path = tmp_path / "learner.pt"
    learner = OnlineLearner(model, strategy, SETTINGS, seed=5)
    HeldAt(learner, steps)
    push(learner, scene.train, range(5))
    wait_until(lambda: learner.status().steps == steps)
    assert in_time(lambda: learner.save(path)) is None  # lets it go on
    push(learner, scene.train, [5])
    finished = in_time(learner.finish)
    learner.close()
    loaded = OnlineLearner.load(path)
    assert loaded.experiment == learner.experiment
    assert loaded.experiment.strategy == strategy
    assert loaded.status().seen == 5
    with loaded:
        push(loaded, scene.train, [5])
        assert in_time(loaded.finish) == replace(finished, full=False)
    assert same(learned(loaded), learned(learner))


def test_a_loaded_learner_says_what_the_saved_one_said(
    scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    learner = OnlineLearner(model, ReplayAll(), SETTINGS)
    push(learner, scene.train, range(5))
    wait_until(lambda: learner.status().steps == 10 and learner.status().waiting == 1)
    before = learner.status()
    learner.save(tmp_path / "learner.pt")
    learner.close()
    loaded = OnlineLearner.load(tmp_path / "learner.pt")
    assert loaded.status() == before
    camera = scene.test.camera(1)
    assert torch.equal(loaded.render(camera).rgb, learner.render(camera).rgb)
    with pytest.raises(NerfclError, match="16x16"):
        loaded.observe(np.zeros((8, 8, 3), np.uint8), np.eye(4), np.ones(4))
    loaded.close()


def test_closing_ends_within_a_chunk_and_what_is_saved_then_goes_on_exactly(
    scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    with OnlineLearner(model, RESERVOIR, SETTINGS) as straight:
        push(straight, scene.train)
    learner = OnlineLearner(model, RESERVOIR, SETTINGS)
    held = HeldAt(learner, 8)
    push(learner, scene.train)
    wait_until(held.reached.is_set)
    threading.Timer(0.05, lambda: learner.render(scene.test.camera(0))).start()
    assert in_time(learner.close) is None
    assert 8 <= learner.status().steps <= 9
    learner.save(tmp_path / "learner.pt")
    with OnlineLearner.load(tmp_path / "learner.pt") as loaded:
        pass
    assert same(learned(loaded), learned(straight))


def test_autosave_writes_after_every_chunk(scene: Scene, model: OccupancyModelSettings, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "latest.pt"
    with OnlineLearner(model, RESERVOIR, SETTINGS, autosave=path) as learner:
        push(learner, scene.train, range(2))
        wait_until(path.exists)
        first = OnlineLearner.load(path)
        assert (first.status().seen, first.status().steps) == (2, 5)
        push(learner, scene.train, range(2, 4))
    with OnlineLearner.load(path) as loaded:
        assert (loaded.status().seen, loaded.status().steps) == (4, 10)
    assert same(learned(loaded), learned(learner))
    with first:
        push(first, scene.train, range(2, 4))
    assert same(learned(first), learned(learner))


@dataclass(frozen=True)
class Homemade(Replay):
    """A strategy of the user's own, with something that no file can hold."""

    anything: Any = None


def test_a_strategy_of_ones_own_is_given_again_where_it_is_loaded(
    scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    path, strategy = tmp_path / "learner.pt", Homemade(RayMemorySettings(rays=50), anything=lambda: 0)
    with OnlineLearner(model, strategy, SETTINGS, autosave=tmp_path / "auto.pt") as learner:
        push(learner, scene.train, range(2))
        learner.finish()
        learner.save(path)
        push(learner, scene.train, range(2, 4))
    for saved in (path, tmp_path / "auto.pt"):
        with pytest.raises(NerfclError, match=r"\.pt: was saved with a custom strategy; pass it to `load` again"):
            OnlineLearner.load(saved)
    with OnlineLearner.load(path, strategy) as loaded:
        push(loaded, scene.train, range(2, 4))
    assert loaded.experiment.strategy is strategy
    assert same(learned(loaded), learned(learner))


def test_files_that_are_no_learner_are_refused(model: OccupancyModelSettings, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    learner = new_learner(FineTune(), lambda: model.build(0, "cpu"), 0)
    save_checkpoint(tmp_path / "run.pt", learner, Experiment(strategy=FineTune()).to_plain(), model)
    for name, message in (
        ("none.pt", "no such"), ("text.pt", r"text\.pt"), ("run.pt", "is a run's checkpoint, not an Online")
    ):  # fmt: skip
        with pytest.raises(NerfclError, match=message):
            OnlineLearner.load(tmp_path / name)


def test_a_place_that_cannot_be_written_is_an_error_and_learning_goes_on(
    scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        push(learner, scene.train, range(2))
        with pytest.raises(NerfclError, match="cannot be written"):
            learner.save(tmp_path / "file" / "learner.pt")
        push(learner, scene.train, range(2, 4))
    assert learner.status().steps == 10


def test_dropped_frames_are_still_counted_by_who_loads_it(
    scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    settings, strategy = replace(SETTINGS, queue_frames=2, when_full="drop-oldest"), Gated()
    with OnlineLearner(model, strategy, settings) as learner:
        push(learner, scene.train, range(2))
        wait_until(lambda: not learner._queue._waiting)
        push(learner, scene.train, range(2, 6))
        assert learner.status().dropped == 2
        strategy.steps.release(99)
        learner.finish()
        learner.save(tmp_path / "a.pt")
        loaded = OnlineLearner.load(tmp_path / "a.pt", strategy)
        assert loaded.status() == learner.status()
        push(loaded, scene.train, range(2))
        assert in_time(loaded.finish).dropped == 2
        loaded.close()


IMAGES, POSES, INTRINSICS = torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.eye(4)[None], torch.ones(1, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"seen": -5},
        {"seen": "many"},
        {"dropped": None},
        {"size": "large"},
        {"size": [16]},
        {"frames": [[1, 2, 3]]},
        {"frames": [[IMAGES, POSES]]},
        {"frames": [[IMAGES, POSES * torch.nan, INTRINSICS]]},
        {"frames": [[IMAGES, POSES[0], INTRINSICS]]},
        {"frames": [[IMAGES.float(), POSES, INTRINSICS]]},
        {"frames": [[IMAGES, POSES, -INTRINSICS]]},
        {"frames": [], "in_flight": True},
    ],
)
def test_frames_that_make_no_sense_are_refused(
    change: dict[str, Any], scene: Scene, model: OccupancyModelSettings, tmp_path: Path
) -> None:
    with OnlineLearner(model, FineTune(), SETTINGS) as learner:
        push(learner, scene.train, range(2))
        learner.finish()
        learner.save(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    content["extra"].update(change)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(NerfclError, match=r"^[^\n]*a\.pt: [^\n]*$"):
        OnlineLearner.load(tmp_path / "a.pt")
