"""train.py: learns one side of a scene, or, from a checkpoint of the other side, this one as the second task."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nerfcl.cli.reference.callbacks import Board, CheckpointKeeper, checkpoint_file, saved_epochs
from nerfcl.cli.reference.describe import (
    APART,
    check_layout,
    checkpoint_of,
    resampled,
    told_by,
    told_flags,
    train_experiment,
)
from nerfcl.cli.reference.teacher_files import teacher_images
from nerfcl.config.experiment import SCHEMA, Experiment
from nerfcl.errors import NerfclError
from nerfcl.experiments.execute import execute
from nerfcl.experiments.folders import check_data, claimed, versions
from nerfcl.experiments.outputs import Run
from nerfcl.experiments.prepare import Prepared, prepare
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.stream import Experience, Stream
from nerfcl.streams.tasks import select_views
from nerfcl.training.callbacks import Callback
from nerfcl.training.checkpoints import Checkpoint, resume
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import adopt_first_experience

_OTHER = {"right": "left", "left": "right"}
# Flags that must stay the same when a task is resumed.
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
    """What this run learns, and after what.

    Attributes:
        tasks: names of the stream's experiences.
        present: index of the one to learn now.
        before: epochs before that one.
        start: epochs before this run.
        origin: checkpoint to start from; None starts from scratch.
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
    """Train, and print what was written.

    Args:
        options: checked flags; see `options.py`.

    Raises:
        NerfclError: the user can fix the error; nothing was written except for checkpoints so far.
    """
    plan = _plan(options)
    experiment = train_experiment(options, plan.tasks, options.num_epochs - plan.before)
    check_layout(options)
    folder = Path("ckpts") / options.exp_name
    execute(
        experiment,
        folder,
        label=options.exp_name,
        outputs=_Outputs(options, plan),
        prepared=_prepared(experiment, options, plan, anew=not saved_epochs(folder)),
        begin=lambda run, learner: _begin(run, learner, plan),
        until=plan.present + 1,
    )


class _Outputs:
    """Checkpoints by epoch in ckpts/, event files in logs/.

    Args:
        options: checked flags.
        plan: what is learned, and after what.
    """

    def __init__(self, options: Namespace, plan: Plan) -> None:
        self._options, self._plan = options, plan
        self._logs = Path("logs") / options.exp_name
        monitored = {"val/loss_r": "right", "val/loss_l": "left"}.get(options.monitor, "all")
        self._monitored = plan.tasks.index(monitored)
        self._keeper: CheckpointKeeper | None = None

    def claimed(self, run: Run) -> AbstractContextManager[bool]:
        return claimed_for_flags(run, self._options)

    def checkpoints(self, run: Run) -> list[Path]:
        return [*reversed(saved_epochs(run.folder).values())]

    def is_over(self, run: Run, learner: Learner) -> bool:
        self._keeper = self._new_keeper(run)
        return max(self._keeper.losses, default=0) >= self._options.num_epochs

    @contextmanager
    def callbacks(self, run: Run, learner: Learner) -> Iterator[list[Callback]]:
        names, step = run.prepared.stream.names, learner.history.steps + 1
        assert self._keeper is not None
        with run.progress_bar(self._options.exp_name) as bar, Board(self._logs, names, purge_step=step) as board:
            yield [bar, board, self._keeper]

    def finish(self, run: Run, learner: Learner) -> dict[str, Any]:
        means = learner.history.validation[-1].means
        for group, psnr in zip(run.prepared.stream.groups, means, strict=True):
            print(f"{group.name}: {psnr:.2f} dB on {len(group.val)} validation views")
        assert self._keeper is not None
        for epoch, loss in sorted(self._keeper.losses.items()):
            print(f"{checkpoint_file(run.folder, epoch)}: {self._options.monitor} {loss:.6f}")
        print(f"logs: {self._logs} (tensorboard --logdir logs)")
        return {}

    def _new_keeper(self, run: Run) -> CheckpointKeeper:
        extra = {"flags": told_flags(self._options), "tasks": list(self._plan.tasks)}
        steps = run.prepared.training.steps_per_epoch(run.prepared.stream[self._plan.present])
        return CheckpointKeeper(run, extra, self._monitored, self._plan.before, steps)


def claimed_for_flags(run: Run, options: Namespace) -> AbstractContextManager[bool]:
    """Hold a run's folder: create it, or check that it holds a run with the same flags; see `claimed`.

    Raises:
        NerfclError: the folder holds something else, or is in use.
    """
    flags, data = told_flags(options), run.prepared.data
    content = {
        "schema": SCHEMA,
        "experiment": run.experiment.to_plain(),
        "flags": flags,
        "data": data,
        "versions": versions(),
    }

    def differing(held: dict[str, Any]) -> set[str]:
        # Version 0.1 recorded the flags as "settings", including those that do not matter.
        told = held.get("flags", held.get("settings", {}))
        before = {name: value for name, value in told.items() if name not in APART}
        names = {name for name in {**before, **flags} if before.get(name) != flags.get(name)}
        if not names:
            check_data(held.get("data"), data, f"{run.folder} was begun")
        return names

    return claimed(run.folder, content, differing)


def _plan(options: Namespace) -> Plan:
    """Determine from the checkpoint, if any, whether this run resumes its task or begins the next one."""
    tasks = (options.train_view, _OTHER[options.train_view]) if options.continual_mode else ("all",)
    if options.ckpt_path is None:
        return Plan(tasks)
    origin = checkpoint_of(options)
    told, path = told_by(origin), options.ckpt_path
    if "epoch" not in told:
        raise NerfclError(f"--ckpt_path {path}: was not written by train.py; give one from ckpts/")
    if told["pixel_center"] != options.pixel_center:
        center = told["pixel_center"]
        raise NerfclError(f"--pixel_center {options.pixel_center}: the checkpoint's is {center}; give the same")
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
                f"--{changed[0]}: {path} is of this task, begun with {told[changed[0]]}; give the same, "
                "or a checkpoint of the other side"
            )
        return Plan(tuple(told["tasks"]), origin.done, origin.epochs, told["epoch"], origin)
    if "all" in (side, tasks[0]):
        raise NerfclError(f"--ckpt_path {path}: learned '{side}' views and cannot continue with '{tasks[0]}' views")
    return Plan((side, tasks[0]), 1, told["epoch"], told["epoch"], origin)


def _prepared(experiment: Experiment, options: Namespace, plan: Plan, *, anew: bool) -> Prepared:
    """Prepare the experiment with the checkpoint's model and, if needed, what eval.py wrote about it."""
    prepared = prepare(experiment)
    if plan.origin is not None:
        prepared = replace(prepared, model=resampled(plan.origin.model_settings, options))
    if anew and plan.takes_over:
        stream = _with_teacher_images(prepared.stream, experiment, options)
        prepared = replace(prepared, stream=stream)
    return prepared


def _with_teacher_images(stream: Stream, experiment: Experiment, options: Namespace) -> Stream:
    """Return the stream with the renderings and losses that eval.py wrote, as far as needed."""
    past, present = stream
    needs_losses = options.buffer_fill_mode == "topk" or options.buffer_sample_mode not in (None, "random")
    assert experiment.scene is not None
    train = experiment.scene.load().train

    def taught(experience: Experience, *, colours: bool, losses: bool) -> Experience:
        frames = select_views(train, experience.name)
        size = (train.width, train.height)
        found = teacher_images(Path(options.root_dir), frames, size, colours=colours, losses=losses)
        return replace(experience, teacher=found)

    return Stream(
        (
            taught(past, colours=options.use_soft_targets_for_replay, losses=needs_losses),
            taught(present, colours=options.distillation, losses=False),
        )
    )


def _begin(run: Run, learner: Learner, plan: Plan) -> None:
    """Restore a new learner from the checkpoint, if any."""
    if plan.origin is None:
        return
    if plan.takes_over:
        _take_over(run, learner, plan, plan.origin)
        return
    resume(learner, plan.origin, run.prepared.training.optimiser)
    if learner.sampler is None or learner.sampler.total != run.prepared.stream[plan.present].train.pixels:
        raise NerfclError("--ckpt_path: is of a scene with a different number of rays; give the same --root_dir")


def _take_over(run: Run, learner: Learner, plan: Plan, origin: Checkpoint) -> None:
    """Let a new learner adopt what the checkpoint's learned of the other side, as if it had learned it itself."""
    first = new_learner(FineTune(), learner.new_model, learner.seed)
    resume(first, replace(origin, strategy_state=None), run.prepared.training.optimiser)
    first.done, first.at, first.epochs = 1, 0, plan.start
    adopt_first_experience(learner, first, run.prepared.stream)
