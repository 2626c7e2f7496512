"""One run in one folder: it goes on where the folder says it stands, to its end."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nerfcl.cli.options import Common, Run, Training
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.files import write_json
from nerfcl.models.settings import GridModel, ModelSettings, NerfModel
from nerfcl.reports.animation import forgetting_gif
from nerfcl.reports.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.progress import ProgressBar, track
from nerfcl.reports.results import results_of
from nerfcl.reports.tensorboard import TensorBoardWriter
from nerfcl.scenes import Scene, load_scene
from nerfcl.scenes.scene import with_pixel_center
from nerfcl.strategies import strategy_class
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.tasks import Stream, make_stream
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import History, Learner, TrainingSettings, new_learner
from nerfcl.training.looks import picture_positions, watched_view
from nerfcl.training.loop import learn, take_over_first
from nerfcl.training.optimisation import OptimisationSettings

# What suits each field.
OPTIMISATION = {
    "hashgrid": OptimisationSettings(),
    "nerf": OptimisationSettings(learning_rate=5e-4, betas=(0.9, 0.999), epsilon=1e-8),
}


@dataclass(frozen=True)
class Setup:
    """What all runs of one command share."""

    title: str
    stream: Stream
    model: ModelSettings
    training: TrainingSettings
    device: torch.device
    shown: bool = True  # whether each run shows how far it is

    @property
    def tasks(self) -> list[str]:
        return [experience.name for experience in self.stream]

    @property
    def frames(self) -> int:
        """Train views of all tasks together."""
        return sum(len(experience.train) for experience in self.stream)

    @property
    def length(self) -> tuple[int, str]:
        """How long each task is learned: a number and what it counts."""
        epochs = self.training.epochs
        return (self.training.steps, "steps") if epochs is None else (epochs, "epochs")

    def progress_bar(self, label: str) -> ProgressBar:
        """Of one run; it shows nothing where others share the terminal."""
        from rich.console import Console

        return ProgressBar(label, self.tasks, None if self.shown else Console(quiet=True, force_terminal=False))


def set_up(config: Common) -> Setup:
    """Loads the scene and gathers all settings; refuses what cannot work before anything is written."""
    device, training = check_options(config)
    scene = scene_of(config)
    return Setup(title_of(scene, config), make_stream(scene, config.tasks), model_of(scene, config), training, device)


def check_options(config: Training) -> tuple[torch.device, TrainingSettings]:
    """The device and the training settings that options name.

    Raises:
        NerfclError: an option cannot be.
    """
    if config.memory_rays < 1:
        raise NerfclError(f"--memory-rays {config.memory_rays}: must be at least 1")
    if config.memory_bytes is not None and config.memory_bytes < 1:
        raise NerfclError(f"--memory-bytes {config.memory_bytes}: must be at least 1")
    if config.finest is not None and not 16 <= config.finest <= 4096:
        raise NerfclError(f"--finest {config.finest}: must lie between 16 and 4096")
    if not 1 <= config.width <= 1024:
        raise NerfclError(f"--width {config.width}: must lie between 1 and 1024")
    if config.field not in OPTIMISATION:
        raise NerfclError(f"--field {config.field}: must be {' or '.join(OPTIMISATION)}")
    if config.samples < 3 or config.importance < 0:
        raise NerfclError(
            f"--samples {config.samples} --importance {config.importance}: at least 3 samples, and not fewer than none"
        )
    if config.chunk < 1:
        raise NerfclError(f"--chunk {config.chunk}: must be at least 1")
    optimisation = replace(OPTIMISATION[config.field], **_same_named(OptimisationSettings, config))
    training = TrainingSettings(**_same_named(TrainingSettings, config), optimisation=optimisation)
    return device_of(config.device), training


def scene_of(config: Training) -> Scene:
    """The scene that options name."""
    scene = load_scene(config.data, config.img_wh, track, spheric_poses=config.spheric_poses)
    return with_pixel_center(scene, config.pixel_center)


def title_of(scene: Scene, config: Training) -> str:
    """For pictures."""
    return f"{scene.name} at {config.img_wh[0]}x{config.img_wh[1]}"


def _same_named(cls: type, config: Training) -> dict[str, Any]:
    """Values for the attributes of a dataclass from the options of the same names that were given."""
    options = {f.name: getattr(config, f.name) for f in fields(cls) if f.init and hasattr(config, f.name)}
    return {name: value for name, value in options.items() if value is not None}


def model_of(scene: Scene, config: Training) -> ModelSettings:
    """Settings of what is learned."""
    if config.field == "nerf":
        return NerfModel.for_scene(
            scene,
            samples=config.samples,
            importance=config.importance,
            use_disp=config.use_disp,
            perturb=config.perturb,
            noise_std=config.noise_std,
            chunk=config.chunk,
        )
    return GridModel.for_scene(scene, config.finest, config.width)


@dataclass(frozen=True)
class Row:
    """One strategy with options of its own, as a comparison's row.

    Attributes:
        label: for tables and folders.
        name: the strategy's.
        knobs: what is set otherwise than by the command's options, as written.
    """

    label: str
    name: str
    knobs: tuple[tuple[str, str], ...]


def parse_row(text: str) -> Row:
    """Reads "NAME", "NAME:knob=value,knob" or "LABEL=NAME:...".

    Raises:
        NerfclError: there is no such strategy, or the text is something else.
    """
    head, _, tail = text.partition(":")
    label, _, name = head.rpartition("=")
    strategy_class(name)
    knobs = []
    for part in filter(None, tail.split(",")):
        knob, equals, value = part.partition("=")
        knobs.append((knob.strip().replace("-", "_"), value.strip() if equals else "true"))
    return Row(label.strip() or text, name, tuple(knobs))


def make_strategy(text: str, config: Training) -> Strategy:
    """The strategy that a row names, its knobs set from the row, the others from options of the same names.

    Raises:
        NerfclError: the row names a strategy or a knob that there is not, or a value that it cannot have.
    """
    row = parse_row(text)
    cls = strategy_class(row.name)
    known = {f.name: f for f in fields(cls) if f.init}
    chosen = _same_named(cls, config)
    for knob, value in row.knobs:
        if knob not in known:
            raise NerfclError(
                f"--strategy {text}: '{row.name}' has no option '{knob.replace('_', '-')}'; it has "
                f"{', '.join(sorted(name.replace('_', '-') for name in known)) or 'none'}"
            )
        chosen[knob] = _value_of(text, knob, value, known[knob].default)
    return cls(**chosen)


def _value_of(text: str, knob: str, value: str, like: Any) -> Any:
    """A knob's value from its text, of the same type as its default."""
    try:
        if isinstance(like, bool):
            return {"true": True, "yes": True, "false": False, "no": False}[value.lower()]
        return type(like)(value)
    except (KeyError, ValueError, TypeError):
        raise NerfclError(
            f"--strategy {text}: {knob.replace('_', '-')}={value} must be of the same kind as {like}"
        ) from None


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
    return checkpoint_in(folder, 1)


def train_into(
    folder: Path, config: Run, strategy: Strategy, setup: Setup, compilation: float, first: Path | None = None
) -> dict[str, Any]:
    """Goes on with a run where its folder says it is, to its end, and writes its reports."""
    claim_folder(folder, settings_of(config), about(config))
    learner = _learner(strategy, config.seed, setup)
    if first is not None and not strategy.watches_steps and not checkpoint_in(folder, 1).exists():
        shared = _learner(FineTune(), config.seed, setup)
        resume(shared, load_checkpoint(first), setup.training.optimisation)
        take_over_first(learner, shared, setup.stream)
        _save(folder, learner, config, setup)
    label = parse_row(config.strategy).label
    with _observed(folder, f"{label} · seed {config.seed}", config, learner, setup, compilation) as observers:
        learn(setup.stream, learner, setup.training, observers)
    results = results_of(learner.history, setup.stream, label, config.seed, *setup.length)
    _write_pictures(folder, label, learner.history, setup, from_scratch=strategy.from_scratch)
    write_json(folder / "results.json", results)
    return results


def tell_of_large_memory(strategy: Strategy, stream: Stream) -> None:
    """Says so where a memory has room for more rays than the past will have."""
    capacity = getattr(strategy, "memory_rays", None)
    past = sum(len(part.train) * part.train.height * part.train.width for part in stream[:-1])
    sized = getattr(strategy, "memory_bytes", 0)
    if capacity is not None and not sized and past and capacity > past:
        print(f"--memory-rays {capacity:,}: all tasks but the last have {past:,} rays; all are kept", file=sys.stderr)


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
    saved = [i for i in range(1, len(setup.stream) + 1) if checkpoint_in(folder, i).exists()]
    if saved:
        resume(learner, load_checkpoint(checkpoint_in(folder, saved[-1])), setup.training.optimisation)
    if learner.done == len(setup.stream):
        yield []
        return
    learner.history.compilation = compilation
    with (
        setup.progress_bar(label) as bar,
        TensorBoardWriter(folder / "tensorboard", setup.tasks, learner.history.steps + 1) as board,
    ):
        yield [bar, board, _Saver(folder, config, setup)]


def checkpoint_in(folder: Path, done: int) -> Path:
    """Where a run has its checkpoint after so many tasks."""
    return folder / "checkpoints" / f"task-{done}.pt"


def _save(folder: Path, learner: Learner, config: Run, setup: Setup) -> None:
    path = checkpoint_in(folder, learner.done)
    # The next task begins with an optimiser of its own.
    save_checkpoint(path, learner, settings_of(config), setup.model, with_optimiser=setup.training.keep_optimiser)


def history_in(folder: Path, setup: Setup) -> History:
    return load_checkpoint(checkpoint_in(folder, len(setup.stream))).history


def _write_pictures(folder: Path, name: str, history: History, setup: Setup, *, from_scratch: bool) -> None:
    title = f"{setup.title}, {name}"
    watched = watched_view(setup.stream)[0]
    first = setup.stream[watched].test
    shown = picture_positions(first)
    matrix_figure(folder / "matrix.png", history.R, setup.tasks, title)
    length, unit = setup.length
    curves_figure(
        folder / "curves.png", history.curve, setup.tasks, length, title, unit=unit, from_scratch=from_scratch
    )
    views_figure(
        folder / "views.png",
        [first.images[v].numpy() for v in shown],
        [[images[v] for v in shown] for images in history.pictures],
        [[row[watched][v] for v in shown] for row in history.psnr],
        setup.tasks,
        title,
    )
    write_gif(folder / "forgetting.gif", {name: history}, setup)


def write_gif(path: Path, histories: dict[str, History], setup: Setup) -> None:
    experience, view = watched_view(setup.stream)
    truth = setup.stream[experience].test.images[view].numpy()
    frames = {name: history.frames for name, history in histories.items()}
    forgetting_gif(path, frames, truth, setup.tasks, *setup.length)


def settings_of(config: Training) -> dict[str, Any]:
    """What decides a run's results: all options but where they go, and who works them out."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("out", "jobs", "ray")}
    return json.loads(json.dumps(settings, default=str))  # paths


def about(config: Training) -> dict[str, Any]:
    """How to run it again, and what ran it."""
    options = []
    for name, value in asdict(config).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{flag}", *(shlex.quote(str(v)) for v in values)]
    command = re.sub(r"\B(?=[A-Z])", "-", type(config).__name__).lower()  # CompareOnline is compare-online
    return {
        "command": f"nerfcl {command} {' '.join(options)}",
        "versions": {package: version(package) for package in ("nerfcl", "torch", "numpy", "numba")},
    }
