"""What the tests of training share: a tiny scene, streams of it, and learners of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nerfcl.config.configurations import ConfigurationText
from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Scene
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream
from nerfcl.training.learner import Learner, new_learner
from support.learning import small_model


@pytest.fixture(scope="session")
def scene(shared_scene: Path) -> Scene:
    return load_scene(shared_scene)


@pytest.fixture(scope="session")
def tasks(scene: Scene) -> Stream:
    """Two announced tasks of three train views of 16x16 pixels each."""
    return make_stream(scene, ["right", "left"])


@pytest.fixture(scope="session")
def chunks(scene: Scene) -> Stream:
    """Three chunks of two train views of 16x16 pixels each, which nobody announces."""
    return make_trajectory(scene, "nearest", 2)


@pytest.fixture(scope="session")
def learner_of(scene: Scene) -> Callable[..., Learner]:
    """Makes a learner with a strategy, or with one that is written as configurations are."""

    def make(strategy: Strategy | str, seed: int = 3) -> Learner:
        if isinstance(strategy, str):
            strategy = ConfigurationText.parse(strategy).build({})[0].strategy
        return new_learner(strategy, small_model(scene), seed)

    return make
