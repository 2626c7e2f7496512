"""One run in one folder: it goes on where the folder says it stands, to its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nerfcl.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.config import Common, Run
from nerfcl.errors import NerfclError
from nerfcl.files import write_json
from nerfcl.folders import claim_folder
from nerfcl.models import GridModel, ModelSettings, NerfModel
from nerfcl.reports.animation import forgetting_gif
from nerfcl.reports.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.progress import ProgressBar, track
from nerfcl.reports.results import results_of
from nerfcl.reports.tensorboard import TensorBoardWriter
from nerfcl.scenes import Scene, load_scene
from nerfcl.strategies import strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams import Stream, make_stream
from nerfcl.training import (
    History,
    Learner,
    TrainingSettings,
    learn,
    new_learner,
    picture_positions,
    take_over_first,
    watched_view,
)

LEARNING_RATES = {"hashgrid": 2e-2, "nerf": 5e-4}


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


def set_up(config: Common) -> Setup:
    """Loads the scene and gathers all settings; refuses what cannot work before anything is written."""
    if config.memory_rays < 1:
        raise NerfclError(f"--memory-rays {config.memory_rays}: must be at least 1")
    if config.finest is not None and not 16 <= config.finest <= 4096:
        raise NerfclError(f"--finest {config.finest}: must lie between 16 and 4096")
    if not 1 <= config.width <= 1024:
        raise NerfclError(f"--width {config.width}: must lie between 1 and 1024")
    if config.field not in LEARNING_RATES:
        raise NerfclError(f"--field {config.field}: must be {' or '.join(LEARNING_RATES)}")
    if config.samples < 3 or config.importance < 0:
        raise NerfclError(
            f"--samples {config.samples} --importance {config.importance}: at least 3 samples, and not fewer than none"
        )
    device = device_of(config.device)
    scene = load_scene(config.data, config.img_wh, track)
    chosen = {f.name: getattr(config, f.name) for f in fields(TrainingSettings) if hasattr(config, f.name)}
    if config.learning_rate is None:
        chosen["learning_rate"] = LEARNING_RATES[config.field]
    return Setup(
        f"{scene.name} at {config.img_wh[0]}x{config.img_wh[1]}",
        make_stream(scene, config.tasks),
        _model_settings(scene, config),
        TrainingSettings(**chosen),
        device,
    )


def _model_settings(scene: Scene, config: Common) -> ModelSettings:
    if config.field == "nerf":
        return NerfModel.for_scene(
            scene,
            samples=config.samples,
            importance=config.importance,
            use_disp=config.use_disp,
            perturb=config.perturb,
            noise_std=config.noise_std,
        )
    return GridModel.for_scene(scene, config.finest, config.width)


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


def train_first(folder: Path, config: Run, setup: Setup, compilation: float) -> Path:
    """Learns the first task, if that was not done before; returns the checkpoint."""
    learner = _learner(FineTune(), config.seed, setup)
    with _observed(folder, f"first task · seed {config.seed}", config, learner, setup, compilation) as observers:
        learn(setup.stream, learner, setup.training, observers, until=1)
    return _checkpoint(folder, 1)


def train_into(
    folder: Path, config: Run, strategy: Strategy, setup: Setup, compilation: float, first: Path | None = None
) -> dict[str, Any]:
    """Goes on with a run where its folder says it is, to its end, and writes its reports."""
    claim_folder(folder, settings_of(config), about(config))
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
    write_json(folder / "results.json", results)
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
    save_checkpoint(_checkpoint(folder, learner.done), learner, settings_of(config), setup.model)


def history_in(folder: Path, setup: Setup) -> History:
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
    write_gif(folder / "forgetting.gif", {name: history}, setup)


def write_gif(path: Path, histories: dict[str, History], setup: Setup) -> None:
    watched = watched_view(setup.stream)
    truth = setup.stream[0].test.images[watched].numpy()
    frames = {name: history.frames for name, history in histories.items()}
    forgetting_gif(path, frames, truth, setup.tasks, setup.training.steps)


def settings_of(config: Common) -> dict[str, Any]:
    """What decides a run's results: all options but where they go."""
    settings = asdict(config)
    del settings["out"]
    return json.loads(json.dumps(settings))


def about(config: Common) -> dict[str, Any]:
    """How to run it again, and what ran it."""
    options = []
    for name, value in asdict(config).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{flag}", *(shlex.quote(str(v)) for v in values)]
    return {
        "command": f"nerfcl {type(config).__name__.lower()} {' '.join(options)}",
        "versions": {package: version(package) for package in ("nerfcl", "torch", "numpy", "numba")},
    }
