"""What the commands do."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nerfcl.cameras import pixel_offsets
from nerfcl.checkpoints import load_checkpoint, shown_model
from nerfcl.config import Common, Compare, Evaluate, MakeScene, Online, Run
from nerfcl.errors import NerfclError
from nerfcl.evaluation import Scores, evaluate
from nerfcl.files import write_json, written_aside
from nerfcl.folders import claim_folder
from nerfcl.kernels import compile_kernels
from nerfcl.making import make_scene
from nerfcl.reports.comparison import comparison_curves_figure, comparison_figure
from nerfcl.reports.progress import track
from nerfcl.reports.results import comparison_row
from nerfcl.reports.tables import comparison_table, human_bytes, print_table, run_table
from nerfcl.runs import (
    Setup,
    about,
    device_of,
    history_in,
    make_strategy,
    parse_row,
    set_up,
    settings_of,
    tell_of_large_memory,
    train_first,
    train_into,
    write_gif,
)
from nerfcl.scenes import Views, load_scene
from nerfcl.scenes.scene import with_pixel_center
from nerfcl.strategies.strategy import Strategy
from nerfcl.stream_runs import set_up_stream, train_stream
from nerfcl.streams import select_views
from nerfcl.training import check
from nerfcl.watching import watch

_FIRST_TASK = "first-task"  # the folder of what all rows share


def execute(command: Run | Compare | Online | Evaluate | MakeScene) -> None:
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
    folder = config.out or Path("outputs") / _as_file_name(parse_row(config.strategy).label)
    results = train_into(folder, config, strategy, setup, compile_kernels())
    print_table(run_table(results["R"], setup.tasks))
    print(f"results, pictures and checkpoints: {folder}")
    return results


def online(config: Online) -> dict[str, Any]:
    """Learns a stream of frames with one strategy.

    Returns:
        What `results.json` holds.
    """
    folder = config.out or Path("outputs") / f"online-{_as_file_name(parse_row(config.strategy).label)}"
    if config.watch is not None:
        results = watch(folder, config)
        print(f"{results['frames']['seen']} frames seen; results and checkpoint: {folder}")
        return results
    setup = set_up_stream(config)
    strategy = make_strategy(config.strategy, config)
    check(setup.stream, strategy, setup.training)
    results, _ = train_stream(folder, config, strategy, setup, compile_kernels())
    seconds, frames = results["seconds"]["training"], sum(len(chunk.train) for chunk in setup.stream)
    print(f"{frames} frames, {frames / seconds:.1f} a second; {human_bytes(results['memory_bytes'])} kept of the past")
    print(f"PSNR of all test views: {results['psnr']:.2f} dB")
    print(f"results, pictures and checkpoint: {folder}")
    return results


def compare(config: Compare) -> list[dict[str, Any]]:
    """Trains several strategies with several seeds, the first task once a seed.

    Returns:
        What each run's `results.json` holds.
    """
    setup = set_up(config)
    rows_of = {parse_row(text).label: text for text in config.strategies}
    for option, values in (("strategies", config.strategies), ("seeds", config.seeds)):
        if not values or len(set(values)) < len(values):
            raise NerfclError(f"--{option} {' '.join(map(str, values))}: name at least one, and none twice")
    if len({_as_file_name(label) for label in rows_of}) < len(config.strategies):
        raise NerfclError(f"--strategies {' '.join(config.strategies)}: two rows have the same label")
    for label, text in rows_of.items():
        if _as_file_name(label) in (_FIRST_TASK, ".", ".."):
            raise NerfclError(f"--strategies {text}: the label names a folder of the comparison's own; choose another")
    strategies = {label: make_strategy(text, config) for label, text in rows_of.items()}
    for strategy in strategies.values():
        check(setup.stream, strategy, setup.training)
        tell_of_large_memory(strategy, setup.stream)
    claim_folder(config.out, settings_of(config), about(config))
    compilation = compile_kernels()

    results: dict[str, list[dict[str, Any]]] = {name: [] for name in strategies}
    for seed in config.seeds:
        folder = config.out / f"seed-{seed}"
        runs = {label: _one_run(config, text, seed, folder / _as_file_name(label)) for label, text in rows_of.items()}
        first = train_first(folder / _FIRST_TASK, next(iter(runs.values())), setup, compilation)
        for label, strategy in strategies.items():
            out = folder / _as_file_name(label)
            results[label].append(train_into(out, runs[label], strategy, setup, compilation, first))

    rows = [comparison_row(name, results[name]) for name in strategies]
    everything = [result for name in strategies for result in results[name]]
    write_json(config.out / "comparison.json", {"tasks": setup.tasks, "rows": rows, "runs": _without_views(everything)})
    title = f"{setup.title}: {', '.join(setup.tasks)}" if len(setup.tasks) <= 4 else setup.title
    comparison_figure(config.out / "comparison.png", rows, setup.tasks, title)
    _compare_histories(config, setup, strategies, title)
    print_table(comparison_table(rows, setup.tasks))
    shown = config.out / f"seed-{config.seeds[0]}"
    print(f"pictures: {config.out}/comparison.png, curves.png, forgetting.gif")
    print(f"of each run: {shown}/STRATEGY/views.png, curves.png, matrix.png, forgetting.gif")
    return everything


def _compare_histories(config: Compare, setup: Setup, strategies: dict[str, Strategy], title: str) -> None:
    """Draws how the first seed's runs went, side by side."""
    folder = config.out / f"seed-{config.seeds[0]}"
    histories = {label: history_in(folder / _as_file_name(label), setup) for label in strategies}
    write_gif(config.out / "forgetting.gif", histories, setup)
    curves = {name: history.curve for name, history in histories.items()}
    restarting = [name for name, strategy in strategies.items() if strategy.from_scratch]
    length, unit = setup.length
    comparison_curves_figure(
        config.out / "curves.png", curves, setup.tasks, length, title, unit=unit, from_scratch=restarting
    )


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

    out = config.out or config.checkpoint.parent.parent / "eval" / f"{config.split}-{_as_file_name(config.view)}"
    for i, name in enumerate(views.names):
        _write_png(out / f"{_as_file_name(name)}.png", scores.images[i])
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


def _one_run(config: Compare, strategy: str, seed: int, out: Path) -> Run:
    """The run that would do by itself what a comparison does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Common)}
    return Run(**common, strategy=strategy, seed=seed, out=out)


def _without_views(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in result.items() if key != "views"} for result in results]


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name)


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    with written_aside(path) as aside:
        Image.fromarray(image).save(aside)
