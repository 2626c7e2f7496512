"""One run over a stream of frames in one folder: it goes on from its last finished chunk, to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfcl.cli.options import Online, Streaming
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.experiments.runs import Setup, about, check_options, model_of, parse_row, scene_of, settings_of, title_of
from nerfcl.files import write_json
from nerfcl.reports.results import results_of
from nerfcl.reports.stream_animation import chunk_bars_gif, frames_gif
from nerfcl.reports.streams import chunk_bars_figure, evolution_figure, frames_figure
from nerfcl.reports.tensorboard import TensorBoardWriter
from nerfcl.scenes import Scene
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.frames import make_trajectory
from nerfcl.training.checkpoints import load_checkpoint, resume, save_checkpoint
from nerfcl.training.learner import History, Learner, StepReport, new_learner
from nerfcl.training.looks import picture_positions, watched_view
from nerfcl.training.loop import learn


def set_up_stream(config: Online) -> Setup:
    """Loads the scene, orders its frames, gathers all settings; refuses what cannot work.

    Raises:
        NerfclError: says which option to change.
    """
    return set_up_streams(config, [config.strategy])[0]


def set_up_streams(config: Streaming, strategies: Sequence[str]) -> list[Setup]:
    """What `set_up_stream` does for one strategy, for several of one scene.

    Args:
        config: what they share.
        strategies: as a comparison's rows.

    Raises:
        NerfclError: says which option to change.
    """
    device, training = check_options(config)
    scene = scene_of(config)
    stream = make_trajectory(scene, config.order, config.chunk_frames, config.frames)
    steps, chunks = config.iters_per_chunk, len(stream)
    if steps < 1:
        raise NerfclError(f"--iters-per-chunk {steps}: must be at least 1")
    training = replace(
        training,
        steps=steps,
        frame_every=_given(config.frame_every, steps * chunks // 64),
        score_every=_given(config.score_every, chunks // 5),
        seen_every=_given(config.seen_every, chunks // 25),
    )
    setup = Setup(title_of(scene, config), stream, model_of(scene, config), training, device)
    at_once = [has_all_at_once(strategy) for strategy in strategies]
    bound = _upper_bound(scene, config, setup) if any(at_once) else setup
    return [bound if whole else setup for whole in at_once]


def has_all_at_once(strategy: str) -> bool:
    """Whether a row's strategy is not one for streams but their upper bound: it learns all frames at once."""
    return parse_row(strategy).name == "joint"


def _upper_bound(scene: Scene, config: Streaming, setup: Setup) -> Setup:
    """All frames at once, for as many steps and rays: where a strategy replays, half of its rays are old ones."""
    (everything,) = make_trajectory(scene, config.order, setup.frames, config.frames)
    steps = setup.training.steps * len(setup.stream)
    training = replace(setup.training, rays=2 * setup.training.rays, steps=steps)
    return replace(setup, stream=(replace(everything, name="all frames"),), training=training)


def _given(interval: int | None, default: int) -> int:
    return max(default, 1) if interval is None else interval


def train_stream(
    folder: Path, config: Online, strategy: Strategy, setup: Setup, compilation: float
) -> tuple[dict[str, Any], History]:
    """Goes on with a run where its folder says it is, to its end, and writes its reports.

    Returns:
        What `results.json` holds, and the run's history.
    """
    claim_folder(folder, settings_of(config), about(config))
    learner = new_learner(strategy, lambda: setup.model.build(config.seed, setup.device), config.seed)
    latest = _latest(folder)
    if latest.exists():
        resume(learner, load_checkpoint(latest), setup.training.optimisation)
    label = parse_row(config.strategy).label
    if learner.done < len(setup.stream):
        learner.history.compilation = compilation
        with (
            setup.progress_bar(f"{label} · seed {config.seed}") as bar,
            TensorBoardWriter(folder / "tensorboard", setup.tasks, learner.history.steps + 1) as board,
        ):
            learn(setup.stream, learner, setup.training, [bar, board, _Saver(latest, config, setup)])
    history = learner.history
    results = results_of(history, setup.stream, label, config.seed, *setup.length)
    _write_pictures(folder, label, history, setup)
    write_json(folder / "results.json", results)
    return results, history


def stream_history_in(folder: Path) -> History:
    """What is known of a run over a stream so far."""
    return load_checkpoint(_latest(folder)).history


def _latest(folder: Path) -> Path:
    return folder / "checkpoints" / "latest.pt"


class _Saver:
    """Writes the checkpoint after each chunk, so that a kill costs the chunk in flight and no more."""

    def __init__(self, path: Path, config: Online, setup: Setup) -> None:
        self._path, self._settings, self._model = path, settings_of(config), setup.model

    def stepped(self, report: StepReport) -> None: ...

    def looked(self, history: History) -> None: ...

    def finished(self, learner: Learner) -> None:
        save_checkpoint(self._path, learner, self._settings, self._model)


def _write_pictures(folder: Path, label: str, history: History, setup: Setup) -> None:
    title = f"{setup.title}, {label}"
    write_frames(folder, {label: history}, setup, title)
    chunks = [(over, values) for over, values in zip(history.scored, history.psnr, strict=True)]
    if len(setup.stream) > 1:
        chunk_bars_figure(folder / "chunks.png", chunks[-1][1], chunks[-1][0], title)
        chunk_bars_gif(folder / "chunks.gif", chunks, title)
        for over, values in chunks:
            chunk_bars_figure(folder / "chunks" / f"after-{over}.png", values, over, title)
    watched = watched_view(setup.stream)[0]
    test = setup.stream[watched].test
    view = picture_positions(test)[-1]
    images = [
        (over, pictures[view], values[watched][view])
        for over, pictures, values in zip(history.scored, history.pictures, history.psnr, strict=True)
    ]
    evolution_figure(folder / "evolution.png", test.images[view].numpy(), images, title)


def write_frames(folder: Path, histories: dict[str, History], setup: Setup, title: str) -> None:
    """Pictures of the PSNR of every frame seen so far while the stream ran."""
    looks = {label: history.seen for label, history in histories.items()}
    chunk_frames = len(setup.stream[0].train)
    frames_figure(folder / "frames.png", looks, chunk_frames, title)
    frames_gif(folder / "frames.gif", looks, chunk_frames, title)
