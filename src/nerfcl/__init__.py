"""Radiance fields that keep learning without forgetting.

Example:
    >>> import nerfcl
    >>> scene = nerfcl.load_scene("builtin", size=(16, 16))
    >>> stream = nerfcl.make_stream(scene, ["right", "left"])
    >>> strategy = nerfcl.Replay(nerfcl.RayMemorySettings(rays=20_480))
    >>> learner = nerfcl.new_learner(strategy, nerfcl.model_for(scene, seed=0), seed=0)
    >>> history = nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=2))
    >>> len(history.R)  # [[right, left] after right, [right, left] after left], in dB
    2
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
    __version__: str

    from nerfcl.config.comparison import Comparison
    from nerfcl.config.configurations import Configuration
    from nerfcl.config.experiment import Experiment, SceneSettings
    from nerfcl.config.streams import FrameStream, TaskStream, WatchedStream
    from nerfcl.errors import NerfclError
    from nerfcl.experiments.compare import compare
    from nerfcl.experiments.execute import execute
    from nerfcl.memory.images import ImageMemorySettings
    from nerfcl.memory.rays import RayMemorySettings
    from nerfcl.memory.snapshots import SnapshotSettings
    from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
    from nerfcl.metrics.image import psnr, ssim
    from nerfcl.models.fields.field import Field, FieldSettings
    from nerfcl.models.fields.hash_grid import HashGridSettings
    from nerfcl.models.fields.nerf import NerfSettings
    from nerfcl.models.rendering.model import Model, Rendering, render_image
    from nerfcl.models.settings import model_for, model_settings
    from nerfcl.online.learner import OnlineLearner
    from nerfcl.online.settings import Observed, OnlineSettings
    from nerfcl.scenes import load_scene
    from nerfcl.scenes.cameras import Camera, Rays, look_at
    from nerfcl.scenes.scene import Scene, Views
    from nerfcl.strategies.agem import AGem
    from nerfcl.strategies.distill import Distill
    from nerfcl.strategies.ewc import Ewc
    from nerfcl.strategies.finetune import FineTune
    from nerfcl.strategies.generative import Generative
    from nerfcl.strategies.generative_free import GenerativeFree
    from nerfcl.strategies.joint import Joint
    from nerfcl.strategies.mas import Mas
    from nerfcl.strategies.replay import Replay, ReplayAll
    from nerfcl.strategies.replay_images import ReplayImages
    from nerfcl.strategies.replay_plus import ReplayPlus
    from nerfcl.strategies.soft_targets import SoftTargetRegularization
    from nerfcl.strategies.strategy import Strategy
    from nerfcl.streams.frames import make_trajectory
    from nerfcl.streams.pixels import Pixels
    from nerfcl.streams.stream import Experience, Stream
    from nerfcl.streams.tasks import make_stream
    from nerfcl.training.callbacks import Callback, StepReport
    from nerfcl.training.evaluation import evaluate
    from nerfcl.training.history import History
    from nerfcl.training.learner import Learner, new_learner
    from nerfcl.training.loop import learn
    from nerfcl.training.settings import EvaluationSettings, OptimiserSettings, TrainingSettings

# Where each public name lives; it is imported when it is first used, so that `import nerfcl` stays quick.
_HOMES = {
    "config.comparison": ["Comparison"],
    "config.configurations": ["Configuration"],
    "config.experiment": ["Experiment", "SceneSettings"],
    "config.streams": ["FrameStream", "TaskStream", "WatchedStream"],
    "errors": ["NerfclError"],
    "experiments.compare": ["compare"],
    "experiments.execute": ["execute"],
    "memory.images": ["ImageMemorySettings"],
    "memory.rays": ["RayMemorySettings"],
    "memory.snapshots": ["SnapshotSettings"],
    "metrics.forgetting": ["average", "backward_transfer", "forgetting"],
    "metrics.image": ["psnr", "ssim"],
    "models.fields.field": ["Field", "FieldSettings"],
    "models.fields.hash_grid": ["HashGridSettings"],
    "models.fields.nerf": ["NerfSettings"],
    "models.rendering.model": ["Model", "Rendering", "render_image"],
    "models.settings": ["model_for", "model_settings"],
    "online.learner": ["OnlineLearner"],
    "online.settings": ["Observed", "OnlineSettings"],
    "scenes": ["load_scene"],
    "scenes.cameras": ["Camera", "Rays", "look_at"],
    "scenes.scene": ["Scene", "Views"],
    "strategies.agem": ["AGem"],
    "strategies.distill": ["Distill"],
    "strategies.ewc": ["Ewc"],
    "strategies.finetune": ["FineTune"],
    "strategies.generative": ["Generative"],
    "strategies.generative_free": ["GenerativeFree"],
    "strategies.joint": ["Joint"],
    "strategies.mas": ["Mas"],
    "strategies.replay": ["Replay", "ReplayAll"],
    "strategies.replay_images": ["ReplayImages"],
    "strategies.replay_plus": ["ReplayPlus"],
    "strategies.soft_targets": ["SoftTargetRegularization"],
    "strategies.strategy": ["Strategy"],
    "streams.frames": ["make_trajectory"],
    "streams.pixels": ["Pixels"],
    "streams.stream": ["Experience", "Stream"],
    "streams.tasks": ["make_stream"],
    "training.callbacks": ["Callback", "StepReport"],
    "training.evaluation": ["evaluate"],
    "training.history": ["History"],
    "training.learner": ["Learner", "new_learner"],
    "training.loop": ["learn"],
    "training.settings": ["EvaluationSettings", "OptimiserSettings", "TrainingSettings"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AGem",
    "Callback",
    "Camera",
    "Comparison",
    "Configuration",
    "Distill",
    "EvaluationSettings",
    "Ewc",
    "Experience",
    "Experiment",
    "Field",
    "FieldSettings",
    "FineTune",
    "FrameStream",
    "Generative",
    "GenerativeFree",
    "HashGridSettings",
    "History",
    "ImageMemorySettings",
    "Joint",
    "Learner",
    "Mas",
    "Model",
    "NerfSettings",
    "NerfclError",
    "Observed",
    "OnlineLearner",
    "OnlineSettings",
    "OptimiserSettings",
    "Pixels",
    "RayMemorySettings",
    "Rays",
    "Rendering",
    "Replay",
    "ReplayAll",
    "ReplayImages",
    "ReplayPlus",
    "Scene",
    "SceneSettings",
    "SnapshotSettings",
    "SoftTargetRegularization",
    "StepReport",
    "Strategy",
    "Stream",
    "TaskStream",
    "TrainingSettings",
    "Views",
    "WatchedStream",
    "__version__",
    "average",
    "backward_transfer",
    "compare",
    "evaluate",
    "execute",
    "forgetting",
    "learn",
    "load_scene",
    "look_at",
    "make_stream",
    "make_trajectory",
    "model_for",
    "model_settings",
    "new_learner",
    "psnr",
    "render_image",
    "ssim",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nerfcl")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nerfcl' has no attribute '{name}'")
    return getattr(import_module(f"nerfcl.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
