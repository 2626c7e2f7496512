"""Learning from a folder that is being written to."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from nerfcl.config.experiment import SCHEMA, Experiment
from nerfcl.config.streams import WatchedStream
from nerfcl.errors import Argument, NerfclError
from nerfcl.experiments.folders import check_origin, claimed_folder
from nerfcl.experiments.outputs import RESULTS, FrameOutputs
from nerfcl.files import write_json
from nerfcl.models.rendering.occupancy import OccupancyModelSettings
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import Observed
from nerfcl.reports.live.progress import StreamLine
from nerfcl.scenes.scene import Box, Views, box_seen_by
from nerfcl.scenes.watched import WatchedFolder
from nerfcl.training.checkpoints import load_newest, previous_of
from nerfcl.training.evaluation import evaluate
from nerfcl.training.loop import check_boundaries
from nerfcl.training.settings import OptimiserSettings


def watch(
    experiment: Experiment, stream: WatchedStream, folder: Path, *, label: str, command: str | None = None
) -> dict[str, Any]:
    """Learn frames until the marker file appears or a signal arrives; resume an interrupted run.

    Args:
        experiment: what is learned, and how.
        stream: stream of the experiment.
        folder: output folder.
        label: label of the strategy.
        command: command that reproduces the results; None is one that reads the description.

    Returns:
        The content of `results.json`: counts of the frames, and the PSNR (dB) of each frame learned. These were trained
        on; a watched folder has no other views.

    Raises:
        NerfclError: the folder, an option or a frame is invalid.
    """
    if not stream.folder.is_dir():
        watched = Argument("folder", str(stream.folder), WatchedStream)
        raise NerfclError(watched, ": no such folder; create it before frames are written to it")
    if experiment.field.renderer != "occupancy":
        name = experiment.field.registry.name_of(type(experiment.field))
        raise NerfclError(Argument("field", name), ": does not work on a watched folder; choose another one")
    optimiser = experiment.training.optimiser
    if optimiser.schedule in ("cosine", "poly") and optimiser.schedule_epochs is None:
        why = ": depends on the length of the stream, which is unknown for a watched folder; choose another schedule"
        raise NerfclError(Argument("schedule", optimiser.schedule, OptimiserSettings), why)
    check_boundaries(experiment.strategy, announced=False)
    with claimed_folder(folder, experiment, None, label=label, command=command):
        source = WatchedFolder(
            stream.folder, stream.request, say=lambda text: print(f"nerfcl: {text}", file=sys.stderr)
        )
        learner, observed = _learn(experiment, stream, source, FrameOutputs.checkpoint(folder))
        names, scores, unread = _scores(learner, source, observed.seen - observed.waiting)
        results = {
            "strategy": label,
            "seed": experiment.seed,
            "frames": {"seen": observed.seen, "waiting": observed.waiting, "dropped": observed.dropped},
            "total_steps": observed.steps,
            "memory_bytes": observed.memory_bytes,
            "psnr": sum(scores) / len(scores) if scores else None,
            "psnr_of_frames": scores,
            "scored_frames": names,
            "unreadable_frames": unread,
            "schema": SCHEMA,
            "experiment": experiment.to_plain(),
        }
        write_json(folder / RESULTS, results)
    return results


def _learn(
    experiment: Experiment, stream: WatchedStream, source: WatchedFolder, latest: Path
) -> tuple[OnlineLearner, Observed]:
    """Learn frames until they end or a signal arrives, resuming from the latest checkpoint."""
    device = experiment.torch_device
    with _stop_on_signals() as stopped:
        found = load_newest([latest, previous_of(latest)])
        if found is not None:
            checkpoint, path = found
            check_origin(checkpoint, path, experiment, None)
            learner = OnlineLearner.load(path, device=device)
            learner.autosave = latest
            frames: Iterable[Views] = source.frames(learner.status().seen, stopped.is_set)
        else:
            coming = source.frames(0, stopped.is_set)
            first = list(islice(coming, stream.chunk_frames))
            model = _model_for(experiment, stream, first)
            learner = OnlineLearner(model, device=device, autosave=latest, experiment=experiment)
            frames = chain(first, coming)
        try:
            return learner, _take_in(learner, frames, stopped)
        finally:
            learner.close()


def _model_for(experiment: Experiment, stream: WatchedStream, first: list[Views]) -> OccupancyModelSettings:
    """Choose model settings that suit the first frames."""
    if not first:
        watched = Argument("folder", str(stream.folder), WatchedStream)
        raise NerfclError(watched, ": ended before any frame was complete")
    if stream.box is not None:
        x, y, z, side = stream.box
        box = Box.around((x, y, z), side)
    else:
        views = Views.concatenate(first)
        box = box_seen_by(views.poses, views.intrinsics, views.width)
    return OccupancyModelSettings.in_box(experiment.field, box, first[0].width)


def _take_in(learner: OnlineLearner, frames: Iterable[Views], stopped: threading.Event) -> Observed:
    """Push all frames to the learner; after a signal, waiting frames are left for the next run."""
    with StreamLine() as line:
        for frame in frames:
            line.show(learner.observe(frame.images[0], frame.poses[0], frame.intrinsics[0]))
        if stopped.is_set():
            return learner.status()
        observed = learner.finish()
        line.show(observed)
    return observed


def _scores(
    learner: OnlineLearner, source: WatchedFolder, count: int
) -> tuple[list[int], list[float], list[dict[str, Any]]]:
    """Evaluate the first `count` frames: numbers and PSNR (dB) of those that can still be read, and why others cannot.

    Files may have been deleted or changed since they were learned.
    """
    model, rays_per_pixel = learner.evaluated_model, learner.experiment.training.rays_per_pixel
    scored, scores, unread = [], [], []
    for number in range(count):
        try:
            frame, problem = source.read(number)
        except NerfclError as error:
            frame, problem = None, str(error)
        if frame is None:
            unread.append({"frame": number, "why": problem or "is no longer listed in transforms.json"})
        else:
            scored.append(number)
            scores += evaluate(model, frame, rays_per_pixel=rays_per_pixel, ssim=False).psnr
    if unread:
        text = f"{len(unread)} of {count} frames cannot be read again and are not scored"
        print(f"nerfcl: {text} (frame {unread[0]['frame']}: {unread[0]['why']})", file=sys.stderr)
    return scored, scores, unread


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Set an event on SIGINT, SIGTERM and SIGHUP instead of ending the program."""
    stopped = threading.Event()
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    kinds = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.signal(kind, lambda *_: stopped.set()) for kind in kinds]
    try:
        yield stopped
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
