"""From the reference project's flags to the description of an experiment."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfcl.config.experiment import Experiment, SceneSettings, tasks_experiment, with_field
from nerfcl.config.streams import FrameStream, TaskStream
from nerfcl.errors import NerfclError
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.models.rendering.hierarchical import HierarchicalModelSettings
from nerfcl.models.rendering.model import ModelSettings
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint
from nerfcl.training.settings import EvaluationSettings, OptimiserSettings, TrainingSettings

EVALUATED_VIEWS = 8  # validation views per task
# Flags that do not affect what is learned.
APART = ("device", "chunk", "exp_name", "val_after_n_epochs", "resume", "save_plots")
_DRAWS = {"random": "random", "weighted_random": "weighted", "topk": "topk"}
_SCHEDULES = {"steplr": "step", "cosine": "cosine", "poly": "poly"}


def train_experiment(options: Namespace, tasks: tuple[str, ...], epochs: int) -> Experiment:
    """Describe what train.py learns.

    Args:
        options: checked flags.
        tasks: tasks of the stream, in order.
        epochs: epochs per task.
    """
    evaluation = EvaluationSettings(
        evaluate_epochs=options.val_after_n_epochs, evaluate_views=EVALUATED_VIEWS, frame_every=0
    )
    training = TrainingSettings(epochs=epochs, rays=options.batch_size, keep_optimiser=True, evaluation=evaluation)
    stream = TaskStream(tasks=tasks, first_val_views=EVALUATED_VIEWS)
    return _experiment(options, stream, training, _train_strategy(options))


def online_experiment(options: Namespace) -> Experiment:
    """Describe what train_online.py learns."""
    steps, chunks = options.num_iters_per_chunk, options.num_epochs
    evaluation = EvaluationSettings(
        evaluate_every=options.val_after_n_epochs * steps,
        evaluate_views=EVALUATED_VIEWS,
        frame_every=0,
        test_every=chunks,
        seen_every=1 if options.save_plots else chunks,
        ssim=False,
    )
    training = TrainingSettings(steps=steps, epoch_steps=steps, rays=options.batch_size, evaluation=evaluation)
    stream = FrameStream(
        frames=options.num_frames, chunk_frames=options.chunk_size, chunks=chunks, first_val_views=EVALUATED_VIEWS
    )
    return _experiment(options, stream, training, _online_strategy(options))


def told_flags(options: Namespace) -> dict[str, Any]:
    """Return the flags that affect what is learned."""
    return {name: value for name, value in vars(options).items() if name not in APART}


def told_by(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the flags, the epoch and the tasks recorded in a checkpoint, including those of version 0.1.

    Checkpoints of nerfcl's own commands record `pixel_center` only.
    """
    scene = (checkpoint.experiment or {}).get("scene") or {}
    center = scene.get("pixel_center", SceneSettings.pixel_center)
    return {"pixel_center": center, **checkpoint.options, **checkpoint.extra.get("flags", {}), **checkpoint.extra}


def check_layout(options: Namespace) -> None:
    """Reject a scene whose layout is not `--dataset_name`.

    Raises:
        NerfclError: the layouts differ; names the right one.
    """
    root = Path(options.root_dir)
    is_llff = (root / "poses_bounds.npy").exists()
    if is_llff != (options.dataset_name == "llff") and root.is_dir():
        found, layout = ("", "llff") if is_llff else ("no ", "blender")
        raise NerfclError(
            f"--dataset_name {options.dataset_name}: {options.root_dir} holds {found}poses_bounds.npy; "
            f"use --dataset_name {layout}, or give another --root_dir"
        )


def scene_settings(options: Namespace, pixel_center: float) -> SceneSettings:
    """Return the settings of the scene that the flags select."""
    width, height = options.img_wh
    return SceneSettings(
        data=options.root_dir, size=(width, height), spheric_poses=options.spheric_poses, pixel_center=pixel_center
    )


def checkpoint_of(options: Namespace) -> Checkpoint:
    """Read the checkpoint at `--ckpt_path`.

    Raises:
        NerfclError: it is missing, damaged, or of a field other than `--field`.
    """
    path = Path(options.ckpt_path)
    checkpoint = load_checkpoint(path)
    held = "nerf" if isinstance(checkpoint.model_settings, HierarchicalModelSettings) else "hashgrid"
    if options.field not in (None, held):
        raise NerfclError(f"--ckpt_path {path}: holds field {held}, not {options.field}; use --field {held}")
    return checkpoint


def resampled(settings: ModelSettings, options: Namespace) -> ModelSettings:
    """Return a checkpoint's model settings, with the flags' sampling of rays if it holds the reference networks.

    Raises:
        NerfclError: the flags sample a fine network that the checkpoint lacks, or do not sample one that it has.
    """
    if not isinstance(settings, HierarchicalModelSettings):
        return settings
    if bool(settings.field.importance) != bool(options.N_importance):
        held = "a fine network; give at least 1" if settings.field.importance else "no fine network; give 0"
        raise NerfclError(f"--N_importance {options.N_importance}: the checkpoint has {held}")
    return replace(settings, field=replace(settings.field, **_sampling(options)))


def _sampling(options: Namespace) -> dict[str, Any]:
    sampling = {
        "samples": options.N_samples,
        "importance": options.N_importance,
        "use_disp": options.use_disp,
        "chunk": options.chunk,
    }
    training = {name: getattr(options, name) for name in ("perturb", "noise_std") if hasattr(options, name)}
    return {**sampling, **training}


def _experiment(
    options: Namespace, stream: TaskStream | FrameStream, training: TrainingSettings, strategy: Strategy
) -> Experiment:
    field = NerfSettings(**_sampling(options)) if options.field == "nerf" else HashGridSettings()
    start = with_field(tasks_experiment(), field)
    return replace(
        start,
        scene=scene_settings(options, options.pixel_center),
        stream=stream,
        training=replace(training, optimiser=_optimiser(options, start.training.optimiser)),
        strategy=strategy,
        seed=options.exp_seed,
        device=options.device,
    )


def _optimiser(options: Namespace, suiting_field: OptimiserSettings) -> OptimiserSettings:
    return replace(
        suiting_field,
        optimiser=options.optimizer,
        learning_rate=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        schedule=_SCHEDULES[options.lr_scheduler],
        decay_epochs=tuple(options.decay_step),
        decay_gamma=options.decay_gamma,
        poly_exponent=options.poly_exp,
        schedule_epochs=options.num_epochs,
        warmup_epochs=options.warmup_epochs,
        warmup_multiplier=options.warmup_multiplier,
    )


def _train_strategy(options: Namespace) -> Strategy:
    if not options.use_replay_buf:
        return SoftTargetRegularization() if options.distillation else FineTune()
    memory = RayMemorySettings(
        rays=options.buffer_size,
        fill=options.buffer_fill_mode,
        draw=_DRAWS[options.buffer_sample_mode],
        exploration=options.exploration_ratio,
        centre_weight=options.imgcentre_ratio if options.use_imgcentre_weight else 0.0,
        soft_replay=options.use_soft_targets_for_replay,
    )
    return Replay(memory, update_losses=options.dynamic_buffer_update, soft_targets=options.distillation)


def _online_strategy(options: Namespace) -> Strategy:
    if not options.use_replay_buf:
        return FineTune()
    memory = RayMemorySettings(
        rays=options.buffer_size,
        fill=options.buffer_fill_mode or "random",
        draw=_DRAWS[options.buffer_sample_mode or "weighted_random"],
        exploration=options.exploration_ratio,
        centre_weight=options.imgcentre_ratio if options.use_imgcentre_weight else 0.0,
    )
    return Replay(memory, update_losses=True)
