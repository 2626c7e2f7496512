"""Flags -> the description of an experiment: strategies, optimisers, schedules, fields, streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nerfcl.cli.reference.describe import online_experiment, train_experiment
from nerfcl.cli.reference.options import check_online, check_train, online_parser, train_parser
from nerfcl.config.experiment import Experiment
from nerfcl.config.streams import FrameStream, TaskStream
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.strategies.finetune import FineTune
from nerfcl.strategies.replay import Replay
from nerfcl.strategies.soft_targets import SoftTargetRegularization
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.settings import OptimiserSettings
from support.reference import FINETUNE_STREAM, LEFT, NERF, REPLAY, RIGHT, STREAM

DRAWS = {"random": "random", "topk": "topk", "weighted_random": "weighted"}
COMBINATIONS = [
    (
        f"--use_replay_buf --buffer_size 9 --buffer_fill_mode {fill} --buffer_sample_mode {mode}",
        RayMemorySettings(rays=9, fill=fill, draw=draw),
    )
    for fill in ("topk", "uniform", "random")
    for mode, draw in DRAWS.items()
]
WEIGHTED, MEMORY = COMBINATIONS[-1]


def described(flags: str) -> Experiment:
    """What train.py learns, as the second of two tasks that takes two epochs."""
    options = train_parser().parse_args(f"{flags} --exp_name x".split())
    check_train(options)
    return train_experiment(options, ("right", "left"), 2)


def described_stream(flags: str) -> Experiment:
    options = online_parser().parse_args(f"{flags} --exp_name x".split())
    check_online(options)
    return online_experiment(options)


@pytest.mark.parametrize(
    ("flags", "strategy"),
    [
        ("", FineTune()),
        ("--distillation", SoftTargetRegularization()),
        *((flags, Replay(memory)) for flags, memory in COMBINATIONS),
        (f"{WEIGHTED} --distillation", Replay(MEMORY, soft_targets=True)),
        (f"{WEIGHTED} --dynamic_buffer_update", Replay(MEMORY, update_losses=True)),
        (f"{WEIGHTED} --use_soft_targets_for_replay", Replay(replace(MEMORY, soft_replay=True))),
        (f"{WEIGHTED} --exploration_ratio 0.5", Replay(replace(MEMORY, exploration=0.5))),
        (f"{WEIGHTED} --use_imgcentre_weight", Replay(replace(MEMORY, centre_weight=0.3))),
        (f"{WEIGHTED} --use_imgcentre_weight --imgcentre_ratio 0.6", Replay(replace(MEMORY, centre_weight=0.6))),
    ],
)
def test_strategies_of_tasks(flags: str, strategy: Strategy) -> None:
    assert described(f"{LEFT} {flags}").strategy == strategy


@pytest.mark.parametrize(
    ("flags", "memory"),
    [
        ("", RayMemorySettings(rays=None, fill="random", draw="weighted")),
        ("--dynamic_buffer_update", RayMemorySettings(rays=None, fill="random", draw="weighted")),
        ("--buffer_size 20480", RayMemorySettings(rays=20480, fill="random", draw="weighted")),
        (f"{WEIGHTED} --exploration_ratio 0.5", replace(MEMORY, exploration=0.5)),
        (f"{WEIGHTED} --use_imgcentre_weight", replace(MEMORY, centre_weight=0.3)),
        *COMBINATIONS,
    ],
)
def test_replay_of_a_stream_keeps_everything_if_not_told_otherwise_and_always_updates_losses(
    flags: str, memory: RayMemorySettings
) -> None:
    assert described_stream(f"{STREAM} {flags}").strategy == Replay(memory, update_losses=True)


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ("--lr_scheduler steplr", {"schedule": "step"}),
        ("--decay_step 2 4 8 --decay_gamma 0.5", {"decay_epochs": (2, 4, 8), "decay_gamma": 0.5}),
        ("--lr_scheduler cosine", {"schedule": "cosine"}),
        ("--lr_scheduler poly --poly_exp 2", {"schedule": "poly", "poly_exponent": 2.0}),
        ("--warmup_epochs 3 --warmup_multiplier 2", {"warmup_epochs": 3, "warmup_multiplier": 2.0}),
        ("--optimizer sgd --momentum 0.5", {"optimiser": "sgd", "momentum": 0.5}),
        ("--optimizer radam --weight_decay 1e-6", {"optimiser": "radam", "weight_decay": 1e-6}),
    ],
)
def test_optimisers_and_schedules_that_count_from_the_start_of_the_first_task(
    flags: str, changes: dict[str, Any]
) -> None:
    common = OptimiserSettings(learning_rate=1e-3, schedule="cosine", schedule_epochs=20)
    described_optimiser = described(f"{RIGHT} --lr 1e-3 --num_epochs 20 {flags}").training.optimiser
    assert described_optimiser == replace(common, **changes)


def test_tasks_and_fields() -> None:
    grid, nerf = described(LEFT), described(f"{LEFT} {REPLAY} {NERF} --use_disp --perturb 0 --chunk 99")
    assert grid.stream == TaskStream(tasks=("right", "left"), first_val_views=8)
    assert (grid.training.epochs, grid.training.rays, grid.training.keep_optimiser, grid.seed) == (2, 128, True, 42)
    assert grid.field == HashGridSettings()
    assert nerf.field == NerfSettings(samples=4, importance=4, use_disp=True, perturb=0.0, noise_std=0.0, chunk=99)
    # Each field has the moments of Adam that suit it; the learning rate is always the flag's.
    for experiment, expected in ((grid, (2e-2, (0.7, 0.99), 1e-15)), (nerf, (5e-4, (0.9, 0.999), 1e-8))):
        optimiser = experiment.training.optimiser
        assert (optimiser.learning_rate, optimiser.betas, optimiser.epsilon) == expected


def test_an_epoch_of_a_stream_is_a_chunk() -> None:
    experiment = described_stream(f"{FINETUNE_STREAM} --val_after_n_epochs 2")
    assert experiment.strategy == FineTune()
    assert experiment.stream == FrameStream(order="nearest", frames=6, chunk_frames=2, chunks=3, first_val_views=8)
    training = experiment.training
    assert (training.steps, training.epoch_steps, training.rays, training.optimiser.schedule_epochs) == (8, 8, 64, 3)
    assert training.evaluation is not None
    assert training.evaluation.evaluate_every == 2 * 8
