"""train.py: learns one side of a scene; or, from a checkpoint of the other side, this one as the second task."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nerfcl.cli.reference.recollections import recollections
from nerfcl.cli.reference.scene import checkpoint_of, resampled, scene_of
from nerfcl.cli.reference.settings import DRAWS, NEVER, PLACES, VERSIONS, WATCHED, model_of, optimisation_of
from nerfcl.cli.reference.watching import (
    Board,
    CheckpointKeeper,
    checkpoint_file,
    saved_epochs,
)
from nerfcl.errors import NerfclError
from nerfcl.experiments.folders import claim_folder
from nerfcl.experiments.runs import device_of
from nerfcl.models.kernels import compile_kernels
from nerfcl.models.settings import ModelSettings
from nerfcl.reports.progress import ProgressBar
from nerfcl.scenes import Scene
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.tasks import Experience, Stream, make_stream, select_views
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint, resume
from nerfcl.training.learner import Learner, TrainingSettings, new_learner
from nerfcl.training.loop import check, learn, steps_a_pass, take_over_first

_OTHER = {"right": "left", "left": "right"}
# What a task that is gone on with must have been begun with.
_OF_A_TASK = (
    "img_wh",
    "batch_size",
    "distillation",
    "use_replay_buf",
    "buffer_size",
    "buffer_fill_mode",
    "buffer_sample_mode",
    "use_soft_targets_for_replay",
    "exploration_ratio",
    "dynamic_buffer_update",
    "use_imgcentre_weight",
    "imgcentre_ratio",
)


@dataclass(frozen=True)
class Plan:
    """What this run learns, after what.

    Attributes:
        tasks: names of the stream's experiences.
        present: position of the one that is learned now.
        before: epochs before that one.
        start: epochs before this run.
        origin: where it goes on from.
    """

    tasks: tuple[str, ...]
    present: int = 0
    before: int = 0
    start: int = 0
    origin: Checkpoint | None = None

    @property
    def takes_over(self) -> bool:
        """Whether the past was learned by another run, which kept nothing of it."""
        return self.origin is not None and self.start == self.before


def run(options: Namespace) -> None:
    """Trains, and says in the end what was written.

    Args:
        options: checked flags; see `options.py`.

    Raises:
        NerfclError: something the user can put right; then nothing was written, but for checkpoints so far.
    """
    device = device_of(options.device)
    plan = _plan(options)
    settings = {name: value for name, value in vars(options).items() if name not in PLACES}
    folder, logs = Path("ckpts") / options.exp_name, Path("logs") / options.exp_name
    if folder.exists():
        claim_folder(folder, settings, VERSIONS)
    saved = [load_checkpoint(path) for path in list(saved_epochs(folder).values())[-1:]]

    scene = scene_of(options, options.pixel_center)
    stream = _stream(scene, plan.tasks)
    strategy = _strategy(options)
    training = _training(options, plan, stream)
    check(stream, strategy, training)
    compile_kernels()
    model = _model_settings(options, plan, scene)
    learner = new_learner(strategy, lambda: model.build(options.exp_seed, device), options.exp_seed)
    if saved:
        resume(learner, saved[0], training.optimisation)
    elif plan.takes_over:
        stream = _with_recollections(stream, scene, options)
        _take_over(learner, plan, stream, training)
    elif plan.origin is not None:
        _go_on(learner, plan, stream, training)
    learner.history.frames.clear()

    claim_folder(folder, settings, VERSIONS)
    # What the next run must know, and `nerfcl eval`.
    tells = {**settings, "data": options.root_dir, "rays_per_pixel": 1, "tasks": list(plan.tasks)}
    monitored = plan.tasks.index({"val/loss_r": "right", "val/loss_l": "left"}.get(options.monitor, "all"))
    steps = steps_a_pass(stream[plan.present], training)
    keeper = CheckpointKeeper(folder, learner, model, tells, monitored, plan.before, steps)
    if max(keeper.losses, default=0) < options.num_epochs:
        with (
            ProgressBar(options.exp_name, plan.tasks) as bar,
            Board(logs, plan.tasks, purge_step=learner.history.steps + 1) as board,
        ):
            learn(stream, learner, training, (bar, board, keeper), until=plan.present + 1)
    _say_what_was_written(keeper, stream, options, folder, logs)


def _plan(options: Namespace) -> Plan:
    """Finds out from the checkpoint, if there is one, whether this is its task or the next one."""
    tasks = (options.train_view, _OTHER[options.train_view]) if options.continual_mode else ("all",)
    if options.ckpt_path is None:
        return Plan(tasks)
    origin = checkpoint_of(options)
    told, path = origin.run, options.ckpt_path
    if "epoch" not in told:
        raise NerfclError(f"--ckpt_path {path}: was not written by train.py; name one from ckpts/")
    if told["pixel_center"] != options.pixel_center:
        center = told["pixel_center"]
        raise NerfclError(f"--pixel_center {options.pixel_center}: the checkpoint's is {center}; give that")
    if told["epoch"] >= options.num_epochs:
        raise NerfclError(
            f"--num_epochs {options.num_epochs}: counts from the start of the first task, and {path} is of epoch "
            f"{told['epoch']}; give more, for example --num_epochs {2 * told['epoch']}"
        )
    side = told["tasks"][origin.done]
    if side == tasks[0]:
        changed = [name for name in _OF_A_TASK if told[name] != getattr(options, name)]
        if changed:
            raise NerfclError(
                f"--{changed[0]}: {path} is of this very task, begun with {told[changed[0]]}; give the same, "
                "or a checkpoint of the other side"
            )
        return Plan(tuple(told["tasks"]), origin.done, origin.epochs, told["epoch"], origin)
    if "all" in (side, tasks[0]):
        raise NerfclError(f"--ckpt_path {path}: has learned '{side}' views, which '{tasks[0]}' views do not continue")
    return Plan((side, tasks[0]), 1, told["epoch"], told["epoch"], origin)


def _stream(scene: Scene, tasks: Sequence[str]) -> Stream:
    """The sides; the first validation views stand for test views, which training never looks at."""

    def watched(experience: Experience) -> Experience:
        first = experience.val.select(range(min(WATCHED, len(experience.val))))
        return replace(experience, val=first, test=first)

    return tuple(watched(experience) for experience in make_stream(scene, tasks))


def _training(options: Namespace, plan: Plan, stream: Stream) -> TrainingSettings:
    training = TrainingSettings(
        epochs=options.num_epochs - plan.before,
        rays=options.batch_size,
        optimisation=optimisation_of(options),
        keep_optimiser=True,
        evaluate_views=WATCHED,
        frame_every=NEVER,
    )
    steps = steps_a_pass(stream[plan.present], training)
    return replace(training, evaluate_every=options.val_after_n_epochs * steps)


def _strategy(options: Namespace) -> Strategy:
    if not options.use_replay_buf:
        return SoftTargetRegularization() if options.distillation else FineTune()
    return Replay(
        memory_rays=options.buffer_size,
        memory_fill=options.buffer_fill_mode,
        memory_draw=DRAWS[options.buffer_sample_mode],
        exploration=options.exploration_ratio,
        centre_weight=options.imgcentre_ratio if options.use_imgcentre_weight else 0.0,
        soft_replay=options.use_soft_targets_for_replay,
        update_losses=options.dynamic_buffer_update,
        soft_targets=options.distillation,
    )


def _model_settings(options: Namespace, plan: Plan, scene: Scene) -> ModelSettings:
    if plan.origin is not None:
        return resampled(plan.origin.model_settings, options)
    return model_of(options, scene)


def _with_recollections(stream: Stream, scene: Scene, options: Namespace) -> Stream:
    """The stream with what eval.py wrote down about the train views, as far as it is needed."""
    past, present = stream
    size = (scene.train.width, scene.train.height)
    needs_losses = options.buffer_fill_mode == "topk" or options.buffer_sample_mode not in (None, "random")

    def remembered(experience: Experience, *, colours: bool, losses: bool) -> Experience:
        frames = select_views(scene.train, experience.name)
        found = recollections(Path(options.root_dir), frames, size, colours=colours, losses=losses)
        return replace(experience, remembered=found)

    return (
        remembered(past, colours=options.use_soft_targets_for_replay, losses=needs_losses),
        remembered(present, colours=options.distillation, losses=False),
    )


def _go_on(learner: Learner, plan: Plan, stream: Stream, training: TrainingSettings) -> None:
    """Puts a new learner where the checkpoint's stood, within the same task."""
    assert plan.origin is not None
    resume(learner, plan.origin, training.optimisation)
    views = stream[plan.present].train
    if learner.order is None or learner.order.total != len(views) * views.height * views.width:
        raise NerfclError("--ckpt_path: is of another scene, which has more or fewer rays; give the same --root_dir")


def _take_over(learner: Learner, plan: Plan, stream: Stream, training: TrainingSettings) -> None:
    """Gives a new learner what the checkpoint's has learned of the other side, as if it had learned that itself."""
    assert plan.origin is not None
    past = stream[0].train
    rays = len(past) * past.height * past.width
    if isinstance(learner.strategy, Replay) and (learner.strategy.memory_rays or 0) > rays:
        print(f"--buffer_size {learner.strategy.memory_rays}: {plan.tasks[0]} has {rays} rays; all are kept")
    first = new_learner(FineTune(), learner.new_model, learner.seed)
    resume(first, replace(plan.origin, strategy_state=None), training.optimisation)
    first.done, first.at, first.epochs = 1, 0, plan.start
    take_over_first(learner, first, stream)


def _say_what_was_written(
    keeper: CheckpointKeeper, stream: Stream, options: Namespace, folder: Path, logs: Path
) -> None:
    for experience, psnr in zip(stream, keeper.learner.history.curve[-1][1], strict=True):
        print(f"{experience.name}: {psnr:.2f} dB on {len(experience.val)} validation views")
    for epoch, loss in sorted(keeper.losses.items()):
        print(f"{checkpoint_file(folder, epoch)}: {options.monitor} {loss:.6f}")
    print(f"logs: {logs} (tensorboard --logdir logs)")
