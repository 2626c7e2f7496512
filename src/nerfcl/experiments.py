"""Configuration -> the parts, wired."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfcl.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.config import Common, Compare, Evaluate, Run
from nerfcl.errors import NerfclError
from nerfcl.evaluation import EvaluationSettings, evaluate
from nerfcl.files import write_json, written_aside
from nerfcl.folders import claim_folder
from nerfcl.kernels import compile_kernels
from nerfcl.models import ModelSettings
from nerfcl.reports.animation import forgetting_gif
from nerfcl.reports.comparison import comparison_curves_figure, comparison_figure
from nerfcl.reports.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.progress import ProgressBar, track
from nerfcl.reports.results import comparison_row, results_of
from nerfcl.reports.tables import comparison_table, print_table, run_table
from nerfcl.reports.tensorboard import TensorBoardWriter
from nerfcl.scenes import load_scene
from nerfcl.strategies import strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Stream, make_stream, select_views
from nerfcl.training import (
    History,
    Learner,
    TrainingSettings,
    check,
    learn,
    new_learner,
    picture_positions,
    take_over_first,
    watched_view,
)

RESULTS = "results.json"


@dataclass(frozen=True)
class Setup:
    """What all runs of one command share."""

    title: str
    stream: Stream
    model: ModelSettings
    training: TrainingSettings
    device: torch.device

    @property
    def tasks(self) -> list[str]:
        return [experience.name for experience in self.stream]


def execute(command: Run | Compare | Evaluate) -> None:
    """Does what a command says; see the command's own class.

    Raises:
        NerfclError: something the user can put right.
    """
    if isinstance(command, Run):
        run(command)
    elif isinstance(command, Compare):
        compare(command)
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
    folder = config.out or Path("outputs") / config.strategy
    results = _train_into(folder, config, strategy, setup, compile_kernels())
    print_table(run_table(results["R"], setup.tasks))
    print(f"results, pictures and checkpoints: {folder}")
    return results


def compare(config: Compare) -> list[dict[str, Any]]:
    """Trains several strategies with several seeds, the first task once a seed.

    Returns:
        What each run's `results.json` holds.
    """
    setup = set_up(config)
    strategies = {name: make_strategy(name, config) for name in config.strategies}
    for option, values in (("strategies", config.strategies), ("seeds", config.seeds)):
        if not values or len(set(values)) < len(values):
            raise NerfclError(f"--{option} {' '.join(map(str, values))}: name at least one, and none twice")
    for strategy in strategies.values():
        check(setup.stream, strategy, setup.training)
    claim_folder(config.out, _settings(config), _about(config))
    compilation = compile_kernels()

    results: dict[str, list[dict[str, Any]]] = {name: [] for name in strategies}
    for seed in config.seeds:
        folder = config.out / f"seed-{seed}"
        runs = {name: _one_run(config, name, seed, folder / name) for name in strategies}
        first = _train_first(folder / "first-task", next(iter(runs.values())), setup, compilation)
        for name, strategy in strategies.items():
            results[name].append(_train_into(folder / name, runs[name], strategy, setup, compilation, first))

    rows = [comparison_row(name, results[name]) for name in strategies]
    everything = [result for name in strategies for result in results[name]]
    title = f"{setup.title}: {', '.join(setup.tasks)}" if len(setup.tasks) <= 4 else setup.title
    write_json(config.out / "comparison.json", {"tasks": setup.tasks, "rows": rows, "runs": _without_views(everything)})
    comparison_figure(config.out / "comparison.png", rows, setup.tasks, title)
    histories = {name: _history_in(config.out / f"seed-{config.seeds[0]}" / name, setup) for name in strategies}
    _write_gif(config.out / "forgetting.gif", histories, setup)
    curves = {name: history.curve for name, history in histories.items()}
    restarting = [name for name, strategy in strategies.items() if strategy.from_scratch]
    comparison_curves_figure(
        config.out / "curves.png", curves, setup.tasks, config.steps, title, from_scratch=restarting
    )
    print_table(comparison_table(rows, setup.tasks))
    print(f"pictures: {config.out}/comparison.png, curves.png, forgetting.gif")
    print(
        f"of each run: {config.out}/seed-{config.seeds[0]}/STRATEGY/views.png, curves.png, matrix.png, forgetting.gif"
    )
    return everything


def evaluate_checkpoint(config: Evaluate) -> dict[str, Any]:
    """Renders and scores views with a checkpoint's model.

    Returns:
        What `scores.json` holds.
    """
    checkpoint = load_checkpoint(config.checkpoint)
    trained = checkpoint.run
    if config.split not in ("train", "val", "test"):
        raise NerfclError(f"--split {config.split}: must be train, val or test")
    scene = load_scene(config.data, config.img_wh or tuple(trained["img_wh"]), track)
    views = getattr(scene, config.split)
    views = views.select(select_views(views, config.view))
    if not len(views):
        raise NerfclError(f"--view {config.view}: scene '{scene.name}' has no such {config.split} view")
    model = checkpoint.model_settings.build(0, device_of(config.device))
    model.load_state_dict(checkpoint.model)
    settings = EvaluationSettings(config.rays_per_pixel or trained["rays_per_pixel"], trained["pixel_center"])
    compile_kernels()
    scores = evaluate(model, views, settings, keep_images=None, track=track)

    out = config.out or config.checkpoint.parent.parent / "eval" / f"{config.split}-{_as_file_name(config.view)}"
    for i, name in enumerate(views.names):
        _write_png(out / f"{_as_file_name(name)}.png", scores.images[i])
    content = {
        "checkpoint": str(config.checkpoint),
        "data": config.data,
        "split": config.split,
        "view": config.view,
        "psnr": scores.mean_psnr,
        "ssim": sum(scores.ssim) / len(views),
        "views": [
            {"name": name, "psnr": psnr, "ssim": ssim}
            for name, psnr, ssim in zip(views.names, scores.psnr, scores.ssim, strict=True)
        ],
    }
    write_json(out / "scores.json", content)
    print(f"{len(views)} views: PSNR {content['psnr']:.2f} dB, SSIM {content['ssim']:.4f}")
    print(f"pictures and scores: {out}")
    return content


def set_up(config: Common) -> Setup:
    """Loads the scene and gathers all settings; refuses what cannot work before anything is written."""
    if config.memory_rays < 1:
        raise NerfclError(f"--memory-rays {config.memory_rays}: must be at least 1")
    if config.finest is not None and not 16 <= config.finest <= 4096:
        raise NerfclError(f"--finest {config.finest}: must lie between 16 and 4096")
    if not 1 <= config.width <= 1024:
        raise NerfclError(f"--width {config.width}: must lie between 1 and 1024")
    device = device_of(config.device)
    scene = load_scene(config.data, config.img_wh, track)
    chosen = {f.name: getattr(config, f.name) for f in fields(TrainingSettings) if hasattr(config, f.name)}
    return Setup(
        f"{scene.name} at {config.img_wh[0]}x{config.img_wh[1]}",
        make_stream(scene, config.tasks),
        ModelSettings.for_scene(scene, config.finest, config.width),
        TrainingSettings(**chosen),
        device,
    )


def make_strategy(name: str, config: Common) -> Strategy:
    """The strategy of this name, its knobs set from options of the same names."""
    cls = strategy_class(name)
    return cls(**{f.name: getattr(config, f.name) for f in fields(cls) if f.init and hasattr(config, f.name)})


def device_of(name: str) -> torch.device:
    """The device that `--device` names."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise NerfclError(f"--device {name}: must be cpu, cuda or auto")
    if name == "cuda" and not torch.cuda.is_available():
        raise NerfclError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device(name)


def _one_run(config: Compare, strategy: str, seed: int, out: Path) -> Run:
    """The run that would do by itself what a comparison does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Common)}
    return Run(**common, strategy=strategy, seed=seed, out=out)


def _train_first(folder: Path, config: Run, setup: Setup, compilation: float) -> Path:
    """Learns the first task, if that was not done before; returns the checkpoint."""
    learner = _learner(FineTune(), config.seed, setup)
    with _observed(folder, f"first task · seed {config.seed}", config, learner, setup, compilation) as observers:
        learn(setup.stream, learner, setup.training, observers, until=1)
    return _checkpoint(folder, 1)


def _train_into(
    folder: Path, config: Run, strategy: Strategy, setup: Setup, compilation: float, first: Path | None = None
) -> dict[str, Any]:
    """Goes on with a run where its folder says it is, to its end, and writes its reports."""
    claim_folder(folder, _settings(config), _about(config))
    learner = _learner(strategy, config.seed, setup)
    if first is not None and not _checkpoint(folder, 1).exists():
        shared = _learner(FineTune(), config.seed, setup)
        resume(shared, load_checkpoint(first))
        take_over_first(learner, shared, setup.stream)
        _save(folder, learner, config, setup)
    with _observed(folder, f"{config.strategy} · seed {config.seed}", config, learner, setup, compilation) as observers:
        learn(setup.stream, learner, setup.training, observers)
    results = results_of(learner.history, setup.stream, config.strategy, config.seed, setup.training.steps)
    _write_pictures(folder, config.strategy, learner.history, setup, from_scratch=strategy.from_scratch)
    write_json(folder / RESULTS, results)
    return results


def _learner(strategy: Strategy, seed: int, setup: Setup) -> Learner:
    return new_learner(strategy, lambda: setup.model.build(seed, setup.device), seed)


class _Saver:
    """Writes a checkpoint after each experience."""

    def __init__(self, folder: Path, config: Run, setup: Setup) -> None:
        self._folder, self._config, self._setup = folder, config, setup

    def stepped(self, report: Any) -> None: ...

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None:
        _save(self._folder, learner, self._config, self._setup)


@contextmanager
def _observed(
    folder: Path, label: str, config: Run, learner: Learner, setup: Setup, compilation: float
) -> Iterator[list[Any]]:
    """Puts the learner where the folder's last checkpoint stood, and gathers who watches it go on."""
    saved = [i for i in range(1, len(setup.stream) + 1) if _checkpoint(folder, i).exists()]
    if saved:
        resume(learner, load_checkpoint(_checkpoint(folder, saved[-1])))
    if learner.done == len(setup.stream):
        yield []
        return
    learner.history.compilation = compilation
    with (
        ProgressBar(label, setup.tasks) as bar,
        TensorBoardWriter(folder / "tensorboard", setup.tasks, learner.history.steps or None) as board,
    ):
        yield [bar, board, _Saver(folder, config, setup)]


def _checkpoint(folder: Path, done: int) -> Path:
    return folder / "checkpoints" / f"task-{done}.pt"


def _save(folder: Path, learner: Learner, config: Run, setup: Setup) -> None:
    save_checkpoint(_checkpoint(folder, learner.done), learner, _settings(config), setup.model)


def _history_in(folder: Path, setup: Setup) -> History:
    return load_checkpoint(_checkpoint(folder, len(setup.stream))).history


def _write_pictures(folder: Path, name: str, history: History, setup: Setup, *, from_scratch: bool) -> None:
    title = f"{setup.title}, {name}"
    first = setup.stream[0].test
    shown = picture_positions(first)
    matrix_figure(folder / "matrix.png", history.R, setup.tasks, title)
    curves_figure(
        folder / "curves.png", history.curve, setup.tasks, setup.training.steps, title, from_scratch=from_scratch
    )
    views_figure(
        folder / "views.png",
        [first.images[v].numpy() for v in shown],
        [[images[v] for v in shown] for images in history.pictures],
        [[row[0][v] for v in shown] for row in history.psnr],
        setup.tasks,
        title,
    )
    _write_gif(folder / "forgetting.gif", {name: history}, setup)


def _write_gif(path: Path, histories: dict[str, History], setup: Setup) -> None:
    watched = watched_view(setup.stream)
    truth = setup.stream[0].test.images[watched].numpy()
    frames = {name: history.frames for name, history in histories.items()}
    forgetting_gif(path, frames, truth, setup.tasks, setup.training.steps)


def _settings(config: Common) -> dict[str, Any]:
    """What decides a run's results: all options but where they go."""
    settings = asdict(config)
    del settings["out"]
    return json.loads(json.dumps(settings))


def _about(config: Common) -> dict[str, Any]:
    """How to run it again, and what ran it."""
    options = []
    for name, value in asdict(config).items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{name.replace('_', '-')}", *(shlex.quote(str(v)) for v in values)]
    return {
        "command": f"nerfcl {type(config).__name__.lower()} {' '.join(options)}",
        "versions": {package: version(package) for package in ("nerfcl", "torch", "numpy", "numba")},
    }


def _without_views(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in result.items() if key != "views"} for result in results]


def _as_file_name(name: str) -> str:
    return name.replace("/", "-").replace(" ", "-")


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    with written_aside(path) as aside:
        Image.fromarray(image).save(aside)
