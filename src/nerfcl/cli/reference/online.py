"""train_online.py: learns a trajectory of frames, a chunk at a time, and goes on from a finished chunk."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from nerfcl.cli.reference.plots import FramePlots
from nerfcl.cli.reference.scene import scene_of
from nerfcl.cli.reference.settings import DRAWS, PLACES, VERSIONS, WATCHED, model_of, optimisation_of
from nerfcl.cli.reference.watching import Board, ChunkKeeper, checkpoint_file, saved_epochs
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.experiments.runs import device_of
from nerfcl.models.kernels import compile_kernels
from nerfcl.reports.progress import ProgressBar
from nerfcl.scenes import Scene, Views
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.frames import make_trajectory
from nerfcl.streams.tasks import Stream
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint, resume
from nerfcl.training.evaluation import evaluate
from nerfcl.training.learner import Learner, TrainingSettings, new_learner
from nerfcl.training.loop import Stretch, check, learn_experience

_PLACES = (*PLACES, "resume", "save_plots")


def run(options: Namespace) -> None:
    """Learns the stream from where it stands, and says in the end what was written and how good it is.

    Args:
        options: checked flags; see `options.py`.

    Raises:
        NerfclError: something the user can put right; then nothing was written, but for chunks so far.
    """
    device = device_of(options.device)
    settings = {name: value for name, value in vars(options).items() if name not in _PLACES}
    places = {name: Path(name) / options.exp_name for name in ("ckpts", "logs", "plots")}
    folder = places["ckpts"]
    if folder.exists():
        claim_folder(folder, settings, VERSIONS)
    saved = _origin(folder, options)

    scene = scene_of(options, options.pixel_center)
    for split in ("val", "test"):
        if not len(getattr(scene, split)):
            raise NerfclError(f"--root_dir {options.root_dir}: has no {split} view; add some, or name another folder")
    stream = make_trajectory(scene, "nearest", options.chunk_size, options.num_frames)[: options.num_epochs]
    strategy = _strategy(options)
    training = TrainingSettings(
        steps=options.num_iters_per_chunk,
        epoch_steps=options.num_iters_per_chunk,
        rays=options.batch_size,
        optimisation=optimisation_of(options),
    )
    check(stream, strategy, training)
    compile_kernels()
    model = model_of(options, scene)
    learner = new_learner(strategy, lambda: model.build(options.exp_seed, device), options.exp_seed)
    if saved is not None:
        resume(learner, saved, training.optimisation)

    claim_folder(folder, settings, VERSIONS)
    tells = {**settings, "data": options.root_dir, "rays_per_pixel": 1, "tasks": ["all"]}
    keeper = ChunkKeeper(folder, model, tells, learner.done)
    frames = sum(len(chunk.train) for chunk in stream)
    title = f"{scene.name} at {scene.train.width}x{scene.train.height}, {options.exp_name}"
    plots = FramePlots(places["plots"], frames, options.chunk_size, len(stream), title) if options.save_plots else None
    if learner.done < len(stream):
        with (
            ProgressBar(options.exp_name) as bar,
            Board(places["logs"], ["all"], purge_step=learner.history.steps + 1) as board,
        ):
            # The keeper last: what a kill takes of the others is made again with the chunk.
            observers = (bar, board, *([plots] if plots else []), keeper)
            _learn(learner, stream, training, observers, _Looks(scene, stream, learner, options))
    if plots is not None:
        plots.complete(learner.history)
    _say_what_was_written(learner, keeper, plots, places)


def _origin(folder: Path, options: Namespace) -> Checkpoint | None:
    """The checkpoint to go on from: the last one, or that of the chunk before `--resume`."""
    saved = saved_epochs(folder)
    if not options.resume:
        return load_checkpoint(saved[max(saved)]) if saved else None
    chunk = options.resume // options.chunk_size
    if chunk not in saved:
        others = ", ".join(str(epoch * options.chunk_size) for epoch in saved if epoch < options.num_epochs)
        there = f"it can go on from {others}" if others else "no other is there, either"
        raise NerfclError(f"--resume {options.resume}: {checkpoint_file(folder, chunk)} is not there; {there}")
    return load_checkpoint(saved[chunk])


def _strategy(options: Namespace) -> Strategy:
    if not options.use_replay_buf:
        return FineTune()
    return Replay(
        memory_rays=options.buffer_size,
        memory_fill=options.buffer_fill_mode or "random",
        memory_draw=DRAWS[options.buffer_sample_mode or "weighted_random"],
        exploration=options.exploration_ratio,
        centre_weight=options.imgcentre_ratio if options.use_imgcentre_weight else 0.0,
        update_losses=True,
    )


def _learn(learner: Learner, stream: Stream, training: TrainingSettings, observers: tuple, looks: _Looks) -> None:
    """Learns the chunks that are left."""
    steps = training.steps
    while learner.done < len(stream):
        stretch = Stretch(steps, len(stream) * steps, steps, learner.epochs, len(stream))
        chunk = stream[learner.done]
        learn_experience(learner, chunk, training, observers, stretch, look=looks.look, score=looks.score)


class _Looks:
    """Evaluations: of a few validation views now and then, of all frames seen for plots, of all test views at the end.

    A stream's validation and test views belong to chunks; here all are one.
    """

    def __init__(self, scene: Scene, stream: Stream, learner: Learner, options: Namespace) -> None:
        self._val = scene.val.select(range(min(WATCHED, len(scene.val))))
        self._test, self._stream, self._learner, self._options = scene.test, stream, learner, options

    def look(self) -> bool:
        """After every step: looks at validation views, if it is time."""
        learner, history, over = self._learner, self._learner.history, self._learner.done + 1
        due = over % self._options.val_after_n_epochs == 0 or over == len(self._stream)
        if learner.at < self._options.num_iters_per_chunk or not due:
            return False
        started = time.perf_counter()
        scores = evaluate(learner.shown, self._val, with_ssim=False)
        history.curve.append((float(over), [scores.mean_psnr]))
        history.looks.append([scores.psnr])
        history.evaluation += time.perf_counter() - started
        return True

    def score(self) -> None:
        """After every chunk, before it counts as done."""
        started = time.perf_counter()
        history, shown, over = self._learner.history, self._learner.shown, self._learner.done + 1
        last = over == len(self._stream)
        if last or self._options.save_plots:
            seen = Views.concatenate([chunk.train for chunk in self._stream[:over]])
            history.seen.append((over, evaluate(shown, seen, with_ssim=False).psnr))
        if last:
            scores = evaluate(shown, self._test, with_ssim=False)
            history.R.append([scores.mean_psnr])
            history.scored.append(over)
            history.psnr.append([scores.psnr])
        history.evaluation += time.perf_counter() - started


def _say_what_was_written(
    learner: Learner, keeper: ChunkKeeper, plots: FramePlots | None, places: dict[str, Path]
) -> None:
    for what, psnr in (("test views", learner.history.psnr[-1][0]), ("frames seen", learner.history.seen[-1][1])):
        print(f"Mean PSNR over {len(psnr)} {what} : {sum(psnr) / len(psnr):.2f}")
    for epoch, loss in sorted(keeper.losses.items()):
        print(f"{checkpoint_file(places['ckpts'], epoch)}: val/loss {loss:.6f}")
    if plots is not None:
        print(f"plots: {places['plots']}, animated in {' and '.join(str(gif) for gif in plots.gifs)}")
    print(f"logs: {places['logs']} (tensorboard --logdir logs)")
