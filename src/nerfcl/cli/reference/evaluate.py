"""eval.py: renders and scores test views, or renders train views and writes soft targets and losses."""

from __future__ import annotations

import errno
import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from nerfcl.cli.reference.describe import check_layout, checkpoint_of, resampled, scene_settings, told_by
from nerfcl.cli.reference.teacher_files import COLOURS, LOSSES, colours_file, losses_file, write_colours, write_losses
from nerfcl.config.experiment import Experiment
from nerfcl.errors import NerfclError
from nerfcl.experiments.execute import compilation_seconds
from nerfcl.files import written_aside
from nerfcl.reports.live.progress import track
from nerfcl.streams.tasks import select_views
from nerfcl.training.checkpoints import evaluated_model
from nerfcl.training.evaluation import render_views

_FRAMES_A_SECOND = 30


def run(options: Namespace) -> None:
    """Render, write, and print the mean PSNR.

    Args:
        options: checked flags; see `options.py`.

    Raises:
        NerfclError: the user can fix the error; nothing was rendered.
    """
    device = Experiment(device=options.device).torch_device
    checkpoint = checkpoint_of(options)
    checkpoint = replace(checkpoint, model_settings=resampled(checkpoint.model_settings, options))
    center = told_by(checkpoint)["pixel_center"] if options.pixel_center is None else options.pixel_center
    check_layout(options)
    scene = scene_settings(options, center).load(track)
    side = "all" if options.test_view == "NA" else options.test_view
    views = scene.train if options.split == "infer_train" else scene.test.select(select_views(scene.test, side))
    if not len(views):
        raise NerfclError(f"--test_view {side}: scene '{scene.name}' has no such test views; give NA for all")
    root = Path(options.root_dir)
    results = Path("results") / options.dataset_name / options.scene_name / options.save_dir_name
    for folder in (root / COLOURS, root / LOSSES, results) if options.split == "infer_train" else (results,):
        _check_writable(folder)
    model = evaluated_model(checkpoint, device)
    compilation_seconds()

    images, scores = [], []
    for view in render_views(model, views, track=track):
        if options.split == "infer_train":
            truth = views.images[view.index].float() / 255.0
            losses = (view.rendering.rgb.cpu() - truth).square().mean(-1)  # (H, W), before rounding to 8 bits
            write_colours(colours_file(root, view.index), view.image)
            write_losses(losses_file(root, view.index), losses)
        else:
            write_colours(results / f"r_{view.index}.png", view.image)
        if options.save_depth:
            write_depth(results, view.index, view.rendering.depth.cpu().numpy(), options.depth_format)
        images.append(view.image)
        scores.append(view.psnr)
    gif = results / f"{options.scene_name}.gif"
    _write_gif(gif, images)

    print(f"Mean PSNR : {sum(scores) / len(scores):.2f}")
    if options.split == "infer_train":
        print(f"soft targets of {len(views)} train views: {root / COLOURS}; their losses: {root / LOSSES}")
    else:
        print(f"{len(views)} views: {results}")
    if options.save_depth:
        print(f"depths: {results}")
    print(f"animation: {gif}")


def write_depth(folder: Path, index: int, depth: np.ndarray, form: str) -> None:
    """Write a depth map.

    Args:
        folder: output folder.
        index: index of the view, for the file name: depth_III.pfm or depth_III.
        depth: (H, W) in world units.
        form: "pfm" (little-endian, rows from the bottom), or "bytes" (raw little-endian float32, rows from the top).
    """
    name, data = f"depth_{index:03d}", depth.astype("<f4")
    if form == "pfm":
        name += ".pfm"
        data = data[::-1]
    head = f"Pf\n{depth.shape[1]} {depth.shape[0]}\n-1.0\n".encode() if form == "pfm" else b""
    with written_aside(folder / name) as aside:
        aside.write_bytes(head + data.tobytes())


def _write_gif(path: Path, images: list[np.ndarray]) -> None:
    with written_aside(path) as aside:
        imageio.imwrite(aside, np.stack(images), duration=1000.0 / _FRAMES_A_SECOND, loop=0)


def _check_writable(folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Root may write to read-only folders, which is hardly intended.
        if not there.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, f"{there} is read-only")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise NerfclError(
            f"{folder}: cannot be written ({error.strerror}); make it writable, or use a writable copy of the folder"
        ) from error
