"""Command lines of the reference project's programs on the tiny scene, and what they leave behind."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nerfcl.cli.reference import eval_main, online_main, train_main
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint
from support.learning import same

PROJECT = Path(__file__).resolve().parents[2]

SCENE = "--root_dir tiny --img_wh 16 16 --device cpu"
TRAIN = f"{SCENE} --batch_size 128 --lr 2e-2 --lr_scheduler cosine --exp_seed 42 --val_after_n_epochs 1"
RIGHT = f"{TRAIN} --continual_mode --train_view right --monitor val/loss_r"
# The second task; the first one was learned by the fixture `here`.
LEFT = f"{TRAIN} --continual_mode --train_view left --monitor val/loss_l --ckpt_path ckpts/r/epoch=8.ckpt"
REPLAY = "--use_replay_buf --buffer_size 100 --buffer_fill_mode topk --buffer_sample_mode weighted_random"
REPLAY += " --exploration_ratio 0.2 --dynamic_buffer_update"
EPOCH = 3 * 16 * 16 // 128  # steps
EVAL = f"{SCENE} --save_dir_name results --ckpt_path ckpts/r/epoch=8.ckpt"

CHUNK = 8  # steps
FINETUNE_STREAM = f"{SCENE} --dataset_name blender_online --batch_size 64 --lr 2e-2 --decay_step 1000 --exp_seed 42"
FINETUNE_STREAM += f" --online_cl_mode --num_frames 6 --chunk_size 2 --num_iters_per_chunk {CHUNK} --num_epochs 3"
FINETUNE_STREAM += " --monitor val/loss --val_after_n_epochs 1"
STREAM = f"{FINETUNE_STREAM} --use_replay_buf"

NERF = "--field nerf --N_samples 4 --N_importance 4 --noise_std 0 --lr 5e-4"


def _successful(main: Callable[[list[str]], int]) -> Callable[[str], None]:
    def run(flags: str) -> None:
        assert main(flags.split()) == 0

    return run


train, train_online, evaluate = map(_successful, (train_main, online_main, eval_main))


def run_program(program: str, flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one of the programs as a script."""
    monkeypatch.setattr(sys, "argv", [program, *flags.split()])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROJECT / program), run_name="__main__")
    assert end.value.code == 0


def checkpoint_path(name: str, epoch: int) -> Path:
    return Path("ckpts", name, f"epoch={epoch}.ckpt")


def checkpoint(name: str, epoch: int) -> Checkpoint:
    """A checkpoint of the run with that name."""
    return load_checkpoint(checkpoint_path(name, epoch))


def saved(name: str) -> list[int]:
    """The epochs that there are checkpoints of."""
    return sorted(int(path.stem.removeprefix("epoch=")) for path in Path("ckpts", name).glob("*.ckpt"))


def memory_of(name: str, epoch: int) -> dict[str, Any]:
    """What a checkpoint's replay buffer holds."""
    return (checkpoint(name, epoch).strategy_state or {})["memory"]


def assert_same_learner(one: Checkpoint, other: Checkpoint) -> None:
    """Two learners stand at the same place and go on alike, to the bit, whatever was evaluated on the way."""
    for name in ("model", "optimiser", "strategy_state", "sampler", "generator", "done", "at", "epochs"):
        assert same(getattr(one, name), getattr(other, name)), name
