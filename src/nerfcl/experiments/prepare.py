"""From a description to what is needed to run it: stream, model settings, device."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream, TaskStream
from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import ModelSettings
from nerfcl.models.settings import model_settings
from nerfcl.reports.live.progress import track
from nerfcl.scenes.digest import Digest, digest_of
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.stream import Stream
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import check_boundaries
from nerfcl.training.settings import TrainingSettings


@dataclass(frozen=True)
class Prepared:
    """What is needed to run an experiment with any seed.

    Attributes:
        title: title of figures.
        stream: stream to learn.
        model: model settings.
        training: training settings.
        device: device to compute on.
        data: digest of the scene.
    """

    title: str
    stream: Stream
    model: ModelSettings
    training: TrainingSettings
    device: torch.device
    data: Digest

    def new_learner(self, strategy: Strategy, seed: int) -> Learner:
        """Create an untrained learner."""
        return new_learner(strategy, lambda: self.model.build(seed, self.device), seed)


def prepare(experiment: Experiment) -> Prepared:
    """Load the scene and build the stream; reject what cannot work before anything is written.

    Raises:
        NerfclError: says what to change.
    """
    (prepared,) = prepare_all(experiment, [experiment.strategy])
    note_spare_capacity([experiment.strategy], prepared.stream)
    return prepared


def prepare_all(experiment: Experiment, strategies: Sequence[Strategy]) -> list[Prepared]:
    """Prepare several strategies of one experiment, loading the scene once; see `prepare`.

    On a stream of frames, an upper bound learns all frames at once, for as many steps and rays as strategies that
    replay, half of whose rays are past ones.

    Raises:
        NerfclError: says what to change.
    """
    device = experiment.torch_device
    if experiment.scene is None or not isinstance(experiment.stream, TaskStream | FrameStream):
        raise NerfclError("the description has no scene; use an OnlineLearner for pushed frames")
    scene = experiment.scene.load(track)
    for note in scene.notes:
        print(f"{scene.name}: {note}", file=sys.stderr)
    stream = experiment.stream.build(scene)
    title = f"{scene.name} at {scene.train.width}x{scene.train.height}"
    model, data = model_settings(scene, experiment.field), digest_of(scene)
    prepared = Prepared(title, stream, model, experiment.training, device, data)
    bound = None
    if isinstance(experiment.stream, FrameStream) and any(map(_is_upper_bound, strategies)):
        training = experiment.training
        training = replace(training, rays=2 * training.rays, steps=training.steps * len(stream))
        bound = replace(prepared, stream=experiment.stream.build_at_once(scene), training=training)
    chosen = [bound if bound is not None and _is_upper_bound(strategy) else prepared for strategy in strategies]
    for strategy, part in zip(strategies, chosen, strict=True):
        check_boundaries(strategy, announced=all(experience.announced for experience in part.stream))
    return chosen


def note_spare_capacity(strategies: Iterable[Strategy], stream: Stream) -> None:
    """Print a note if a memory has room for more rays than all tasks but the last have."""
    past = sum(experience.train.pixels for experience in stream[:-1]) if stream[0].announced else 0
    rooms = {_rays_for(strategy) for strategy in strategies}
    for rays in sorted(rays for rays in rooms if rays > past > 0):
        text = f"the memory has room for {rays:,} rays, but all tasks except the last have only {past:,}; all are kept"
        print(text, file=sys.stderr)


def _rays_for(strategy: Strategy) -> int:
    """Return the capacity of a strategy's memory in rays; 0 if it has none."""
    memory: Any = getattr(strategy, "memory", None)
    return 0 if getattr(memory, "bytes", 0) else getattr(memory, "rays", None) or 0


def _is_upper_bound(strategy: Strategy) -> bool:
    return strategy.role == "upper bound"
