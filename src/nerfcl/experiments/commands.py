"""What the commands do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nerfcl.cli.options import Compare, CompareOnline, Evaluate, MakeScene, Online, Run
from nerfcl.errors import NerfclError
from nerfcl.experiments.comparison import compare, compare_online
from nerfcl.experiments.make_scene import make_scene
from nerfcl.experiments.runs import device_of, make_strategy, parse_row, set_up, tell_of_large_memory, train_into
from nerfcl.experiments.stream_runs import set_up_stream, train_stream
from nerfcl.experiments.watch import watch
from nerfcl.files import as_file_name, write_json, written_aside
from nerfcl.models.kernels import compile_kernels
from nerfcl.reports.progress import track
from nerfcl.reports.tables import human_bytes, print_table, run_table
from nerfcl.scenes import Views, load_scene
from nerfcl.scenes.cameras import pixel_offsets
from nerfcl.scenes.scene import with_pixel_center
from nerfcl.streams.tasks import select_views
from nerfcl.training.checkpoints import load_checkpoint, shown_model
from nerfcl.training.evaluation import Scores, evaluate
from nerfcl.training.loop import check


def execute(command: Run | Compare | Online | CompareOnline | Evaluate | MakeScene) -> None:
    """Does what a command says; see the command's own class.

    Raises:
        NerfclError: something the user can put right.
    """
    if isinstance(command, Run):
        run(command)
    elif isinstance(command, Compare):
        compare(command)
    elif isinstance(command, Online):
        online(command)
    elif isinstance(command, CompareOnline):
        compare_online(command)
    elif isinstance(command, MakeScene):
        make_scene(command)
    else:
        evaluate_checkpoint(command)


def run(config: Run) -> dict[str, Any]:
    """Trains one strategy over one stream.

    Returns:
        What `results.json` holds.
    """
    setup = set_up(config)
    strategy = make_strategy(config.strategy, config)
    check(setup.stream, strategy, setup.training)
    tell_of_large_memory(strategy, setup.stream)
    folder = config.out or Path("outputs") / as_file_name(parse_row(config.strategy).label)
    results = train_into(folder, config, strategy, setup, compile_kernels())
    print_table(run_table(results["R"], setup.tasks))
    print(f"results, pictures and checkpoints: {folder}")
    return results


def online(config: Online) -> dict[str, Any]:
    """Learns a stream of frames with one strategy.

    Returns:
        What `results.json` holds.
    """
    folder = config.out or Path("outputs") / f"online-{as_file_name(parse_row(config.strategy).label)}"
    if config.watch is not None:
        results = watch(folder, config)
        print(f"{results['frames']['seen']} frames seen; results and checkpoint: {folder}")
        return results
    setup = set_up_stream(config)
    strategy = make_strategy(config.strategy, config)
    check(setup.stream, strategy, setup.training)
    results, _ = train_stream(folder, config, strategy, setup, compile_kernels())
    a_second = setup.frames / results["seconds"]["training"]
    print(f"{setup.frames} frames, {a_second:.1f} a second; {human_bytes(results['memory_bytes'])} kept of the past")
    print(f"PSNR of all test views: {results['psnr']:.2f} dB")
    print(f"results, pictures and checkpoint: {folder}")
    return results


def evaluate_checkpoint(config: Evaluate) -> dict[str, Any]:
    """Renders and scores views with a checkpoint's model.

    Returns:
        What `scores.json` holds.
    """
    checkpoint = load_checkpoint(config.checkpoint)
    trained = checkpoint.run
    data = trained["data"] if config.data is None else config.data
    if config.split not in ("train", "val", "test"):
        raise NerfclError(f"--split {config.split}: must be train, val or test")
    size = config.img_wh or tuple(trained["img_wh"])
    scene = load_scene(data, size, track, spheric_poses=trained["spheric_poses"])
    scene = with_pixel_center(scene, trained["pixel_center"])
    views = getattr(scene, config.split)
    views = views.select(select_views(views, config.view))
    if not len(views):
        raise NerfclError(f"--view {config.view}: scene '{scene.name}' has no such {config.split} view")
    model = shown_model(checkpoint, device_of(config.device))
    per_pixel = trained["rays_per_pixel"] if config.rays_per_pixel is None else config.rays_per_pixel
    pixel_offsets(per_pixel)
    compile_kernels()
    scores = evaluate(model, views, rays_per_pixel=per_pixel, keep_images=None, track=track)

    out = config.out or config.checkpoint.parent.parent / "eval" / f"{config.split}-{as_file_name(config.view)}"
    for i, name in enumerate(views.names):
        _write_png(out / f"{as_file_name(name)}.png", scores.images[i])
    content = {"data": data, **_scores_of(config, views, scores)}
    write_json(out / "scores.json", content)
    print(f"{len(views)} views: PSNR {content['psnr']:.2f} dB, SSIM {content['ssim']:.4f}")
    print(f"pictures and scores: {out}")
    return content


def _scores_of(config: Evaluate, views: Views, scores: Scores) -> dict[str, Any]:
    return {
        "checkpoint": str(config.checkpoint),
        "split": config.split,
        "view": config.view,
        "psnr": scores.mean_psnr,
        "ssim": sum(scores.ssim) / len(views),
        "views": [
            {"name": name, "psnr": psnr, "ssim": ssim}
            for name, psnr, ssim in zip(views.names, scores.psnr, scores.ssim, strict=True)
        ],
    }


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    with written_aside(path) as aside:
        Image.fromarray(image).save(aside)
