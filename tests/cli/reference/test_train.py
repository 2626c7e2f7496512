"""train.py: the reference project's arithmetic of epochs, its files, its scalars, and what replay keeps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.models.rendering.hierarchical import HierarchicalModelSettings
from nerfcl.models.rendering.model import render_image
from nerfcl.scenes import load_scene
from nerfcl.training.checkpoints import evaluated_model
from support.folders import files_in, scalars
from support.reference import (
    EPOCH,
    LEFT,
    NERF,
    REPLAY,
    RIGHT,
    TRAIN,
    checkpoint,
    memory_of,
    run_program,
    saved,
    train,
)


def test_the_four_command_lines_of_the_reference_projects_readme(
    scene_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a smaller scene, for fewer epochs."""
    common = "--dataset_name blender --root_dir tiny --N_importance 64 --img_wh 16 16"
    training = f"{common} --noise_std 0 --batch_size 128 --optimizer adam --lr 5e-4 --lr_scheduler steplr"
    training += " --decay_step 2 4 8 --decay_gamma 0.5 --continual_mode --exp_seed 42 --val_after_n_epochs 1"
    first = f"{training} --num_epochs 2 --train_view right --monitor val/loss_r --exp_name exp_train_r"
    scoring = f"{common} --scene_name lego --ckpt_path ckpts/exp_train_r/epoch=2.ckpt --save_dir_name results"
    second = f"{training} --num_epochs 4 --train_view left --monitor val/loss_l --exp_name exp_train_l {REPLAY}"
    lines = [
        ("train.py", first, "ckpts/exp_train_r/epoch=2.ckpt"),
        ("eval.py", f"{scoring} --split infer_train --test_view NA", "tiny/stage1_losses"),
        ("train.py", f"{second} --ckpt_path ckpts/exp_train_r/epoch=2.ckpt", "ckpts/exp_train_l/epoch=4.ckpt"),
        ("eval.py", f"{scoring} --split test --test_view right", "results/blender/lego/results"),
    ]
    for program, flags, written in lines:
        run_program(program, flags, monkeypatch)
        assert written in capsys.readouterr().out
        assert Path(written).exists()
    assert saved("exp_train_r") == [1, 2]
    assert saved("exp_train_l") == [3, 4]
    assert files_in(Path("results")) == {f"blender/lego/results/{name}" for name in ("r_0.png", "r_1.png", "lego.gif")}


def test_epochs_optimiser_and_schedule_go_on_with_the_second_task(here: Path) -> None:
    train(f"{LEFT} --num_epochs 10 --exp_name l")
    assert saved("l") == [9, 10]
    last = checkpoint("l", 10)
    assert (last.epochs, last.done, last.at, last.history.steps) == (8, 1, 2 * EPOCH, 10 * EPOCH)
    assert last.extra["tasks"] == ["right", "left"]
    assert last.optimiser is not None
    assert last.optimiser["count"] == 10 * EPOCH
    rates = scalars(Path("logs/l"), "lr")
    assert rates
    for step, rate in rates:  # the cosine began with the first task, and ends at the tenth epoch
        expected = 2e-2 * 0.5 * (1.0 + math.cos(math.pi * ((step - 1) // EPOCH) / 10))
        assert rate == pytest.approx(expected, rel=1e-5)


def test_the_best_five_and_the_last_checkpoint_stay(here: Path) -> None:
    train(f"{RIGHT} --num_epochs 12 --exp_name longer")
    losses = {step // EPOCH: value for step, value in scalars(Path("logs/longer"), "val/loss_r")}
    assert sorted(losses) == list(range(1, 13))
    assert saved("longer") == sorted({*sorted(losses, key=losses.__getitem__)[:5], 12})


def test_validation_is_of_the_first_views_of_each_side(here: Path) -> None:
    model = evaluated_model(checkpoint("r", 8))
    views = load_scene("tiny", (16, 16)).val
    for side, tag in (([0, 1], "r"), ([2, 3], "l")):
        errors = []
        for i in side:
            image = (render_image(model, views.camera(i)).rgb.clamp(0.0, 1.0) * 255.0).round()
            errors.append(float((image - views.images[i]).square().mean()) / 255.0**2)
        assert scalars(Path("logs/r"), f"val/loss_{tag}")[-1][1] == pytest.approx(np.mean(errors), rel=1e-3)
        decibels = np.mean([-10.0 * math.log10(error) for error in errors])
        assert scalars(Path("logs/r"), f"val/psnr_{tag}")[-1][1] == pytest.approx(decibels, rel=1e-4)
    for tag in ("train/loss", "train/psnr", "lr"):
        assert scalars(Path("logs/r"), tag)


def test_without_continual_mode_all_views_are_learned(here: Path) -> None:
    train(f"{TRAIN} --monitor val/loss --num_epochs 2 --exp_name all")
    last = checkpoint("all", 2)
    assert last.at == 2 * 6 * 16 * 16 // 128
    assert last.extra["tasks"] == ["all"]
    assert len(scalars(Path("logs/all"), "val/loss")) == 2


@pytest.mark.parametrize("fill", ["topk", "uniform", "random"])
@pytest.mark.parametrize("mode", ["random", "weighted_random", "topk"])
def test_every_combination_of_replay_learns(here: Path, fill: str, mode: str) -> None:
    replay = f"--use_replay_buf --buffer_size 100 --buffer_fill_mode {fill} --buffer_sample_mode {mode}"
    extras = "--dynamic_buffer_update --use_soft_targets_for_replay --distillation"
    if mode == "weighted_random":
        extras += " --exploration_ratio 0.5 --use_imgcentre_weight"
    for name, flags in (("bare", replay), ("whole", f"{replay} {extras}")):
        train(f"{LEFT} {flags} --batch_size 256 --num_epochs 9 --exp_name {name}")
        state = checkpoint(name, 9).strategy_state or {}
        assert len(state["memory"]["frames"]) == 100
        assert bool(len(state["soft_targets"]["colours"])) == (name == "whole")


def test_another_optimiser_learns(here: Path) -> None:
    train(f"{RIGHT} --optimizer radam --lr_scheduler poly --weight_decay 1e-6 --num_epochs 2 --exp_name o")
    assert checkpoint("o", 2).at == 2 * EPOCH


def test_a_buffer_larger_than_the_rays_there_are_keeps_all(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(f"{LEFT} {REPLAY} --buffer_size 5000 --num_epochs 9 --exp_name l")
    printed = "".join(capfd.readouterr())
    assert "room for 5,000 rays, but all tasks except the last have only 768; all are kept\n" in printed
    assert printed.count("all are kept") == 1
    assert len(memory_of("l", 9)["frames"]) == 768


def test_the_reference_networks_learn_two_tasks(scene_only: Path) -> None:
    nerf = f"{NERF} --batch_size 384 --exp_name"
    train(f"{RIGHT} {nerf} nr --num_epochs 1")
    train(f"{LEFT} {REPLAY} {nerf} nl --num_epochs 2 --ckpt_path ckpts/nr/epoch=1.ckpt")
    settings = checkpoint("nl", 2).model_settings
    assert isinstance(settings, HierarchicalModelSettings)
    assert settings.field == NerfSettings(samples=4, importance=4, noise_std=0.0)
