"""The description of an experiment, and its versioned form in files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as default
from pathlib import Path
from typing import Any

import torch

from nerfcl.config.streams import FrameStream, StreamSettings, TaskStream
from nerfcl.errors import Argument, NerfclError
from nerfcl.files import read_json
from nerfcl.models.fields.field import FieldSettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.fields.migration import with_features_per_level
from nerfcl.progress import Track, untracked
from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Scene
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.migration import with_opacity_weight
from nerfcl.training.settings import EvaluationSettings, OptimiserSettings, TrainingSettings

SCHEMA = 3
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """The scene to learn.

    Attributes:
        data: "builtin" (the built-in truck) or a scene folder.
        size: (width, height) to resize images to (LANCZOS); None keeps their shape.
        max_side: largest width and height in pixels, if `size` is None; None is 64 for renderings, whose images are
            transparent, and 256 for photographs.
        spheric_poses: for scenes in LLFF layout: the cameras surround an object, instead of facing forward.
        pixel_center: where rays pass through pixels: 0.5 is the centre, 0.0 reproduces the reference project.

    Example:
        >>> len(SceneSettings(data="builtin", size=(32, 32)).load().train)
        100
    """

    data: str = "builtin"
    size: tuple[int, int] | None = None
    max_side: int | None = None
    spheric_poses: bool = False
    pixel_center: float = 0.5

    def load(self, track: Track = untracked) -> Scene:
        """Load the scene; see `load_scene`."""
        return load_scene(
            self.data,
            self.size,
            track,
            max_side="auto" if self.max_side is None else self.max_side,
            spheric_poses=self.spheric_poses,
            pixel_center=self.pixel_center,
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is learned, from what, and how: everything that determines a result, except machine and thread count.

    Attributes:
        scene: scene to learn; None if frames come from elsewhere.
        stream: source of experiences.
        field: field to train.
        training: length of training, optimiser and evaluation.
        strategy: how the past is used.
        seed: seed of all randomness.
        device: device to compute on: "cpu", "cuda", or "auto" (cuda if available).

    Example:
        >>> experiment = Experiment(stream=TaskStream(tasks=("sectors:10",)), seed=3)
        >>> Experiment.from_plain(experiment.to_plain()) == experiment
        True
    """

    scene: SceneSettings | None = default(default_factory=SceneSettings)
    stream: StreamSettings = default(default_factory=TaskStream)
    field: FieldSettings = default(default_factory=HashGridSettings)
    training: TrainingSettings = default(default_factory=TrainingSettings)
    strategy: Strategy = default(default_factory=Replay)
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise NerfclError(Argument("device", self.device), f": must be one of {', '.join(DEVICES)}")

    def to_plain(self) -> dict[str, Any]:
        """Convert to JSON-compatible values."""
        return to_plain(self)

    @staticmethod
    def from_plain(value: Any) -> Experiment:
        """Convert back from `to_plain`; missing values have their defaults.

        Raises:
            NerfclError: a value is invalid; says which and why.
        """
        return from_plain(Experiment, migrated(value))

    @property
    def torch_device(self) -> torch.device:
        """The torch device to compute on.

        Raises:
            NerfclError: `device` is "cuda", which is not available.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise NerfclError(Argument("device", self.device), ": torch finds no CUDA device; use cpu")
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device)


def migrated(value: Any) -> Any:
    """Convert a plain experiment of version 0.2 to the current form; return anything else unchanged."""
    if isinstance(value, dict) and "field" in value:
        migrated_parts = {"field": with_features_per_level(value["field"])}
        if "training" in value:
            migrated_parts["training"] = with_opacity_weight(value["training"])
        return {**value, **migrated_parts}
    return value


def tasks_experiment() -> Experiment:
    """Return the default experiment on tasks of a scene."""
    return Experiment()


def frames_experiment() -> Experiment:
    """Return the default experiment on a stream of frames, which has no end for the learning rate to decay towards."""
    return Experiment(
        stream=FrameStream(),
        training=TrainingSettings(
            steps=32,
            optimiser=OptimiserSettings(schedule="constant", ema_decay=0.98),
            evaluation=EvaluationSettings(
                evaluate_every=320, evaluate_views=1, frame_every=None, test_every=None, seen_every=None
            ),
        ),
    )


def with_field(experiment: Experiment, settings: FieldSettings) -> Experiment:
    """Return the experiment with another field, and the optimiser defaults that suit it."""
    defaults, optimiser = OptimiserSettings(), experiment.training.optimiser
    before = {name: getattr(defaults, name) for name in experiment.field.optimiser_defaults}
    optimiser = replace(optimiser, **{**before, **settings.optimiser_defaults})
    return replace(experiment, field=settings, training=replace(experiment.training, optimiser=optimiser))


def read_description(path: Path) -> dict[str, Any]:
    """Read a description from a file: the config.json of a run or a comparison, or a part of it.

    Returns:
        The JSON object; its "schema", if any, is the current one.

    Raises:
        NerfclError: the file is missing, is not a description, or has an unknown schema.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise NerfclError(f"{path}: no such file; give the config.json of an output folder") from None
    if not isinstance(content, dict) or not ({"schema", "settings"} & content.keys()):
        raise NerfclError(f"{path}: does not describe an experiment; give the config.json of an output folder")
    if content.get("schema", SCHEMA) != SCHEMA:
        raise NerfclError(
            f"{path}: has schema {content['schema']}, but this version of nerfcl reads {SCHEMA}; use the version that "
            "wrote it"
        )
    return content
