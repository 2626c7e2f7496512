"""Command lines of the reference project's programs on the tiny scene, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.learning import same

from nerfcl.cli.reference import eval_main, online_main, train_main
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint

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


def train(flags: str) -> None:
    """Do what train.py does; fail where it refuses."""
    assert train_main(flags.split()) == 0


def train_online(flags: str) -> None:
    """Do what train_online.py does; fail where it refuses."""
    assert online_main(flags.split()) == 0


def evaluate(flags: str) -> None:
    """Do what eval.py does; fail where it refuses."""
    assert eval_main(flags.split()) == 0


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
    state = checkpoint(name, epoch).strategy_state
    assert state is not None
    return state["memory"]


def rewrite_checkpoint(name: str, epoch: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a checkpoint holds."""
    path = checkpoint_path(name, epoch)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def assert_same_learner(one: Checkpoint, other: Checkpoint) -> None:
    """Two learners stand at the same place and go on alike, to the bit, whatever was evaluated on the way."""
    for name in ("model", "optimiser", "strategy_state", "sampler", "generator", "done", "at", "epochs"):
        assert same(getattr(one, name), getattr(other, name)), name
