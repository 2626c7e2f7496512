"""Learns from a folder that is being written to, until it is told that nothing more comes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from nerfcl.cli.options import Online
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.experiments.runs import about, check_options, make_strategy, settings_of
from nerfcl.files import write_json
from nerfcl.metrics.image import psnr, to_uint8
from nerfcl.models.settings import GridModel
from nerfcl.online.learner import Observed, OnlineLearner, OnlineSettings
from nerfcl.reports.progress import StreamLine
from nerfcl.scenes.scene import Box, Views, box_seen_by
from nerfcl.scenes.watched import WatchedFolder
from nerfcl.strategies.strategy import Strategy

# Options of `nerfcl online` that an `OnlineLearner` of a grid field has no use for.
_NOT_TAKEN = (
    "data", "spheric_poses", "rays_per_pixel", "pixel_center", "field", "optimiser", "momentum", "weight_decay",
    "schedule", "order", "frames", "score_every", "seen_every", "frame_every",
)  # fmt: skip


def watch(folder: Path, config: Online) -> dict[str, Any]:
    """Takes in frames until the marker file or a signal; goes on where a killed one stood.

    Returns:
        What `results.json` holds: what became of the frames, and the PSNR (dB) of each frame learned. They were
        trained on; such a folder has no other views.

    Raises:
        NerfclError: the folder, an option or a frame cannot be used.
    """
    assert config.watch is not None
    if not config.watch.is_dir():
        raise NerfclError(f"--watch {config.watch}: no such folder; make it before frames are written to it")
    device, strategy, settings = _set_up(config)
    claim_folder(folder, settings_of(config), about(config))
    source = WatchedFolder(config.watch, config.img_wh)
    latest = folder / "checkpoints" / "latest.pt"
    with _stop_on_signals() as stopped:
        if latest.exists():
            learner = OnlineLearner.load(latest, device=device)
            learner.autosave = latest
            frames: Iterable[Views] = source.frames(learner.status().seen, stopped.is_set)
        else:
            coming = source.frames(0, stopped.is_set)
            first = list(islice(coming, config.chunk_frames))
            model = _model_of(config, first)
            learner = OnlineLearner(model, strategy, settings, seed=config.seed, device=device, autosave=latest)
            frames = chain(first, coming)
        try:
            observed = _take_in(learner, frames, stopped)
        finally:
            learner.close()
    scores = _scores(learner, islice(source.frames(0, lambda: False), observed.seen - observed.waiting))
    results = {
        "strategy": config.strategy,
        "seed": config.seed,
        "frames": {"seen": observed.seen, "waiting": observed.waiting, "dropped": observed.dropped},
        "total_steps": observed.steps,
        "memory_bytes": observed.memory_bytes,
        "psnr": sum(scores) / len(scores) if scores else None,
        "psnr_of_frames": scores,
    }
    write_json(folder / "results.json", results)
    return results


def _set_up(config: Online) -> tuple[torch.device, Strategy, OnlineSettings]:
    """What the options say; refuses what cannot work before anything is written."""
    device, training = check_options(config)
    for option in _NOT_TAKEN:
        if getattr(config, option) != getattr(Online, option):
            raise NerfclError(f"--{option.replace('_', '-')}: has no meaning with --watch; leave it out")
    if config.box is not None and not config.box[3] > 0.0:
        raise NerfclError(
            f"--box {' '.join(map(str, config.box))}: the last number is the cube's edge and must be above 0"
        )
    for option in ("chunk_frames", "iters_per_chunk"):
        if getattr(config, option) < 1:
            raise NerfclError(f"--{option.replace('_', '-')} {getattr(config, option)}: must be at least 1")
    settings = OnlineSettings(
        config.chunk_frames,
        config.iters_per_chunk,
        training.rays,
        training.optimisation.learning_rate,
        training.optimisation.average,
        queue_frames=max(OnlineSettings.queue_frames, config.chunk_frames),
    )
    return device, make_strategy(config.strategy, config), settings


def _model_of(config: Online, first: list[Views]) -> GridModel:
    """The model for frames like the first ones."""
    if not first:
        raise NerfclError(f"--watch {config.watch}: ended before a frame was completed")
    if config.box is not None:
        x, y, z, side = config.box
        box = Box.around((x, y, z), side)
    else:
        views = Views.concatenate(first)
        box = box_seen_by(views.poses, views.intrinsics, views.width)
    return GridModel.for_box(box, config.img_wh[0], finest=config.finest, width=config.width)


def _take_in(learner: OnlineLearner, frames: Iterable[Views], stopped: threading.Event) -> Observed:
    """Hands all frames to the learner; a signal leaves those that wait for the next time, the marker does not."""
    with StreamLine() as line:
        for frame in frames:
            line.show(learner.observe(frame.images[0], frame.poses[0], frame.intrinsics[0]))
        if stopped.is_set():
            return learner.status()
        observed = learner.finish()
        line.show(observed)
    return observed


def _scores(learner: OnlineLearner, frames: Iterable[Views]) -> list[float]:
    scores = []
    for frame in frames:
        image = to_uint8(learner.render(frame.camera(0)).rgb).cpu().numpy()
        scores.append(psnr(image, frame.images[0].numpy()))
    return scores


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the program."""
    stopped = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: stopped.set()) for kind in kinds]
    try:
        yield stopped
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
