"""Rendering and scoring of views with any checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nerfcl.config.experiment import Experiment, SceneSettings
from nerfcl.config.migration import experiment_of
from nerfcl.config.streams import WatchedStream
from nerfcl.errors import Argument, NerfclError
from nerfcl.experiments.execute import compilation_seconds
from nerfcl.files import as_file_name, write_json, written_aside
from nerfcl.reports.live.progress import track
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.scenes.digest import changes, digest_of_views
from nerfcl.scenes.names import numbered
from nerfcl.scenes.scene import Views
from nerfcl.scenes.watched import WatchedFolder
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.tasks import select_views
from nerfcl.training.checkpoints import Checkpoint, evaluated_model, load_checkpoint
from nerfcl.training.evaluation import Scores, evaluate

SPLITS = ("train", "val", "test")

Sized = TypeVar("Sized", SceneSettings, WatchedStream)


@dataclass(frozen=True)
class EvaluationRequest:
    """A checkpoint, and the views to render with it.

    Attributes:
        checkpoint: file written by a run, an `OnlineLearner`, train.py or train_online.py.
        data: scene; None is the run's.
        size: (width, height) to render; None is the run's.
        max_side: largest width and height to render in pixels, if `size` is None; None is the run's.
        split: "train", "val" or "test"; None is "test", or "train" for a watched folder, which has no other views.
        view: task whose views are rendered: "right", "left", "all", or "sector K/N".
        rays_per_pixel: rays averaged over each pixel's area; None is the run's.
        out: folder for images and scores.json; None is eval/SPLIT-VIEW next to the checkpoint's folder.
        device: device to compute on.
    """

    checkpoint: Path
    data: str | None = None
    size: tuple[int, int] | None = None
    max_side: int | None = None
    split: str | None = None
    view: str = "all"
    rays_per_pixel: int | None = None
    out: Path | None = None
    device: str = "auto"


def evaluate_checkpoint(request: EvaluationRequest) -> dict[str, Any]:
    """Render and score views with a checkpoint's model, using averaged parameters if there are any.

    Returns:
        The content of `scores.json`.

    Raises:
        NerfclError: the checkpoint, the scene or an option is invalid.
    """
    checkpoint = load_checkpoint(request.checkpoint)
    experiment = _experiment_of(checkpoint, request.checkpoint)
    if request.split not in (None, *SPLITS):
        raise NerfclError(Argument("split", request.split), f": must be one of {', '.join(SPLITS)}")
    data, split, views = _views_of(request, experiment, checkpoint)
    views = views.select(select_views(views, request.view))
    if not len(views):
        raise NerfclError(Argument("view", request.view), f": matches no {split} view of {data}")
    device = replace(experiment, device=request.device).torch_device
    own = experiment.training.rays_per_pixel
    rays_per_pixel = own if request.rays_per_pixel is None else request.rays_per_pixel
    pixel_offsets(rays_per_pixel)  # rejects non-square numbers
    model = evaluated_model(checkpoint, device)
    compilation_seconds()
    scores = evaluate(model, views, rays_per_pixel=rays_per_pixel, keep_images=None, track=track)

    out = request.out or request.checkpoint.parent.parent / "eval" / f"{split}-{as_file_name(request.view)}"
    names = _names_of(views)
    for i, name in enumerate(numbered([as_file_name(name) for name in names])):
        _write_png(out / f"{name}.png", scores.images[i])
    content = {
        "data": data,
        "checkpoint": str(request.checkpoint),
        "split": split,
        "view": request.view,
        **_scores_of(names, scores),
    }
    write_json(out / "scores.json", content)
    print(f"{len(views)} views: PSNR {content['psnr']:.2f} dB, SSIM {content['ssim']:.4f}")
    print(f"images and scores: {out}")
    return content


def _experiment_of(checkpoint: Checkpoint, path: Path) -> Experiment:
    try:
        return experiment_of(checkpoint, strategy=FineTune())  # the memory is not needed here
    except NerfclError as error:
        raise NerfclError(f"{path}: ", *error.args) from None


def _views_of(request: EvaluationRequest, experiment: Experiment, checkpoint: Checkpoint) -> tuple[str, str, Views]:
    """Load the requested views; return the scene, the split and the views."""
    stream = experiment.stream
    if isinstance(stream, WatchedStream) and request.data is None:
        if request.split not in (None, "train"):
            raise NerfclError(Argument("split", request.split), ": a watched folder has train views only")
        return str(stream.folder), "train", _watched_views(stream, request, _learned(checkpoint))
    scene = experiment.scene or SceneSettings(size=_pushed_size(checkpoint))
    if experiment.scene is None and request.data is None:
        raise NerfclError(
            f"{request.checkpoint}: was learned from frames pushed by a program; give a scene of the same place with ",
            Argument("data"),
        )
    asked = _sized(replace(scene, data=request.data or scene.data), request)
    loaded, split = asked.load(track), request.split or "test"
    if request.data is None and asked == scene and checkpoint.data is not None:
        found = changes(checkpoint.data, {split: digest_of_views(getattr(loaded, split))})
        if found:
            why = f": has changed since {request.checkpoint} was written ({'; '.join(found)}); restore it, or give "
            raise NerfclError(f"{asked.data}", why, Argument("data"), " to evaluate with it nevertheless")
    return asked.data, split, getattr(loaded, split)


def _sized(settings: Sized, request: EvaluationRequest) -> Sized:
    """Replace the size of images by the requested one, if any."""
    if request.size is None and request.max_side is None:
        return settings
    return replace(settings, size=request.size, max_side=request.max_side)


def _learned(checkpoint: Checkpoint) -> int:
    """Return the number of frames that an online learner had learned, or dropped, when it was saved."""
    try:
        return checkpoint.extra["seen"] - sum(len(frame[0]) for frame in checkpoint.extra["frames"])
    except (IndexError, KeyError, TypeError) as error:
        raise NerfclError(f"the checkpoint does not say which frames it learned ({error!r}); use another one") from None


def _watched_views(stream: WatchedStream, request: EvaluationRequest, count: int) -> Views:
    """Read the first `count` frames of a watched folder that can still be read; report others on standard error."""
    source = WatchedFolder(stream.folder, _sized(stream, request).request)
    found, why = [], ""
    for number in range(count):
        frame, problem = source.read(number)
        if frame is not None:
            found.append(frame)
        else:
            why = f"frame {number}: {problem or 'is no longer listed in transforms.json'}"
    if not found:
        raise NerfclError(
            f"{stream.folder}: no frame can be read ({why or 'none was learned'}); give a scene with ", Argument("data")
        )
    if why:
        print(f"nerfcl: {count - len(found)} of {count} frames cannot be read again ({why})", file=sys.stderr)
    return Views.concatenate(found)


def _pushed_size(checkpoint: Checkpoint) -> tuple[int, int]:
    width, height = checkpoint.extra.get("size") or (64, 64)
    return width, height


def _names_of(views: Views) -> list[str]:
    """Return different names of views, or numbers for those without."""
    return numbered([name or f"frame {i}" for i, name in enumerate(views.names)])


def _scores_of(names: list[str], scores: Scores) -> dict[str, Any]:
    return {
        "psnr": scores.mean_psnr,
        "ssim": sum(scores.ssim) / len(names),
        "views": [
            {"name": name, "psnr": psnr, "ssim": ssim}
            for name, psnr, ssim in zip(names, scores.psnr, scores.ssim, strict=True)
        ],
    }


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    with written_aside(path) as aside:
        Image.fromarray(image).save(aside)
