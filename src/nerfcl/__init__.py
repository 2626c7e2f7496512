"""Radiance fields that keep learning without forgetting.

scene = nerfcl.load_scene("builtin", size=(64, 64))
stream = nerfcl.make_stream(scene, ["right", "left"])
learner = nerfcl.new_learner(nerfcl.Replay(memory_rays=20_480), nerfcl.model_for(scene), seed=0)
history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=1500))
print(history.R)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# torch and numba each bring a pool of OpenMP threads and take turns on the same cores. By default an idle pool spins
# for milliseconds, against the other one; sleeping at once costs a wake-up at each of some forty parallel loops a step.
# Some ten microseconds are the mean. It must be set before either is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from nerfcl.errors import NerfclError
    from nerfcl.models.rendering.model import render_image
    from nerfcl.models.settings import GridModel, NerfModel, model_for
    from nerfcl.online.learner import OnlineLearner, OnlineSettings
    from nerfcl.scenes import load_scene
    from nerfcl.strategies.agem import AGem
    from nerfcl.strategies.finetune import FineTune
    from nerfcl.strategies.joint import Joint
    from nerfcl.strategies.replay import Replay, ReplayAll
    from nerfcl.strategies.replay_images import ReplayImages
    from nerfcl.strategies.soft_targets import SoftTargetRegularization
    from nerfcl.strategies.strategy import Strategy
    from nerfcl.streams.tasks import Experience, make_stream
    from nerfcl.training.evaluation import evaluate
    from nerfcl.training.learner import History, Learner, TrainingSettings, new_learner
    from nerfcl.training.loop import learn

# Where each public name lives; it is imported when it is first used, so that `import nerfcl` stays quick.
_HOMES = {
    "NerfclError": "errors",
    "evaluate": "training.evaluation",
    "GridModel": "models.settings",
    "NerfModel": "models.settings",
    "model_for": "models.settings",
    "OnlineLearner": "online.learner",
    "OnlineSettings": "online.learner",
    "render_image": "models.rendering.model",
    "load_scene": "scenes",
    "AGem": "strategies.agem",
    "FineTune": "strategies.finetune",
    "SoftTargetRegularization": "strategies.soft_targets",
    "Joint": "strategies.joint",
    "Replay": "strategies.replay",
    "ReplayAll": "strategies.replay",
    "ReplayImages": "strategies.replay_images",
    "Strategy": "strategies.strategy",
    "Experience": "streams.tasks",
    "make_stream": "streams.tasks",
    "History": "training.learner",
    "Learner": "training.learner",
    "TrainingSettings": "training.learner",
    "learn": "training.loop",
    "new_learner": "training.learner",
}

__all__ = [
    "AGem",
    "Experience",
    "FineTune",
    "GridModel",
    "History",
    "Joint",
    "Learner",
    "NerfModel",
    "NerfclError",
    "OnlineLearner",
    "OnlineSettings",
    "Replay",
    "ReplayAll",
    "ReplayImages",
    "SoftTargetRegularization",
    "Strategy",
    "TrainingSettings",
    "evaluate",
    "learn",
    "load_scene",
    "make_stream",
    "model_for",
    "new_learner",
    "render_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nerfcl' has no attribute '{name}'")
    return getattr(import_module(f"nerfcl.{_HOMES[name]}"), name)
