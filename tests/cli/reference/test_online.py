"""train_online.py: a stream of frames, a chunk an epoch; what it keeps, draws, reports and saves."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfcl.cli.reference.callbacks import Board
from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import render_image
from nerfcl.scenes import load_scene
from nerfcl.streams.frames import make_trajectory
from nerfcl.training.callbacks import StepReport
from nerfcl.training.checkpoints import evaluated_model
from support.folders import scalars
from support.reference import (
    CHUNK,
    FINETUNE_STREAM,
    NERF,
    STREAM,
    checkpoint,
    evaluate,
    memory_of,
    run_program,
    saved,
    train_online,
)


def reports_of(flags: str, monkeypatch: pytest.MonkeyPatch) -> list[StepReport]:
    """All steps of a run."""
    reports: list[StepReport] = []
    monkeypatch.setattr(Board, "on_step", lambda *told: reports.append(told[-1]))
    train_online(flags)
    return reports


def test_the_command_line_of_the_reference_projects_readme(
    scene_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a smaller scene, for fewer frames and steps."""
    flags = "--dataset_name blender_online --root_dir tiny --N_importance 64 --img_wh 16 16 --noise_std 0"
    flags += " --num_epochs 3 --batch_size 64 --optimizer adam --lr 5e-4 --lr_scheduler steplr --decay_step 2 4 8"
    flags += " --decay_gamma 0.5 --online_cl_mode --num_frames 6 --use_replay_buf --chunk_size 2"
    flags += " --num_iters_per_chunk 4 --exp_seed 42 --monitor val/loss --val_after_n_epochs 50 --exp_name exp_online"
    run_program("train_online.py", flags, monkeypatch)
    said = capsys.readouterr().out
    assert re.search(r"^Mean PSNR over 4 test views : \d+\.\d\d$", said, re.MULTILINE)
    assert re.search(r"^Mean PSNR over 6 frames seen : \d+\.\d\d$", said, re.MULTILINE)
    assert "ckpts/exp_online/epoch=3.ckpt" in said
    assert "logs/exp_online" in said
    assert saved("exp_online") == [3]
    assert {path.name for path in Path().iterdir()} == {"tiny", "ckpts", "logs"}


def test_an_epoch_of_the_schedule_is_a_chunk(scene_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halving = reports_of(f"{STREAM} --decay_step 1 2 --decay_gamma 0.5 --exp_name halving", monkeypatch)
    rates = [2e-2] * CHUNK + [1e-2] * CHUNK + [5e-3] * CHUNK
    assert [report.learning_rate for report in halving] == pytest.approx(rates)
    cosine = reports_of(f"{STREAM} --lr_scheduler cosine --exp_name cosine", monkeypatch)
    rates = np.repeat([2e-2 * 0.5 * (1.0 + math.cos(math.pi * chunk / 3)) for chunk in range(3)], CHUNK)
    assert [report.learning_rate for report in cosine] == pytest.approx(rates.tolist())
    last = checkpoint("halving", 3)
    assert (last.done, last.at, last.epochs, last.history.steps) == (3, 0, 3, 3 * CHUNK)
    assert last.optimiser is not None
    assert last.optimiser["count"] == 3 * CHUNK  # one optimiser over the whole stream


def test_fewer_epochs_stop_early(scene_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_online(f"{STREAM} --num_epochs 2 --exp_name early")
    assert checkpoint("early", 2).done == 2
    said = capsys.readouterr().out
    assert "over 4 frames seen" in said
    assert "over 4 test views" in said


def test_the_last_chunk_may_have_fewer_frames(scene_only: Path) -> None:
    train_online(f"{STREAM} --num_frames 5 --exp_name odd")
    assert len(checkpoint("odd", 3).history.seen[-1][1]) == 5


@pytest.mark.parametrize(("flags", "later"), [(STREAM, 128), (FINETUNE_STREAM, 64)])
def test_as_many_old_rays_as_new_ones_from_the_second_chunk_on(
    scene_only: Path, flags: str, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = reports_of(f"{flags} --exp_name o", monkeypatch)
    assert [report.rays for report in reports] == [64] * CHUNK + [later] * 2 * CHUNK
    assert (checkpoint("o", 3).strategy_state is None) == (flags == FINETUNE_STREAM)


def test_everything_is_kept_in_the_order_seen(scene_only: Path) -> None:
    train_online(f"{STREAM} --exp_name all")
    stream = make_trajectory(load_scene("tiny", (16, 16)), "nearest", 2, 6)
    for chunks in (1, 2, 3):
        memory = memory_of("all", chunks)
        assert torch.equal(memory["poses"], torch.cat([chunk.train.poses[:, :3] for chunk in stream[:chunks]]))
        assert len(memory["frames"]) == 2 * chunks * 16 * 16
    memory = memory_of("all", 3)
    assert torch.equal(memory["frames"], torch.arange(6, dtype=torch.int32).repeat_interleave(256))
    assert torch.equal(memory["pixels"], torch.arange(256, dtype=torch.int32).repeat(6))
    assert torch.equal(memory["colours"], torch.cat([chunk.train.images for chunk in stream]).view(-1, 3))


def test_stored_losses_are_always_the_latest(scene_only: Path) -> None:
    """Those of replayed rays changed, with the flag that says so as without it."""
    train_online(f"{STREAM} --exp_name untold")
    train_online(f"{STREAM} --dynamic_buffer_update --exp_name told")
    latest, before = memory_of("untold", 3)["losses"], memory_of("untold", 2)["losses"]
    assert torch.equal(latest, memory_of("told", 3)["losses"])
    assert 64 < (latest[: len(before)] != before).sum() <= 64 * CHUNK


@pytest.mark.parametrize("size", [100, 20480])
def test_a_buffer_size_that_is_given_is_kept_to(scene_only: Path, size: int) -> None:
    train_online(f"{STREAM} --buffer_size {size} --buffer_fill_mode topk --exploration_ratio 0.5 --exp_name b")
    for chunks in (1, 2, 3):
        assert len(memory_of("b", chunks)["frames"]) == min(size, 512 * chunks)


def test_what_is_reported_is_of_all_test_views_and_frames(scene_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_online(f"{STREAM} --exp_name said")
    said = capsys.readouterr().out
    model, scene = evaluated_model(checkpoint("said", 3)), load_scene("tiny", (16, 16))
    for views, what in ((scene.train, "6 frames seen"), (scene.test, "4 test views")):
        scores = []
        for i in range(len(views)):
            image = (render_image(model, views.camera(i)).rgb.clamp(0.0, 1.0) * 255.0).round().byte()
            scores.append(psnr(image.numpy(), views.images[i].numpy()))
        mean = f"{np.mean(scores):.2f}"
        assert f"Mean PSNR over {what} : {mean}\n" in said
    flags = "--root_dir tiny --img_wh 16 16 --ckpt_path ckpts/said/epoch=3.ckpt --save_dir_name s --device cpu"
    evaluate(f"{flags} --split test --test_view NA")
    assert f"Mean PSNR : {mean}\n" in capsys.readouterr().out


def test_tensorboard_has_the_references_names(scene_only: Path) -> None:
    train_online(f"{STREAM} --num_iters_per_chunk 20 --val_after_n_epochs 2 --exp_name board")
    logs = Path("logs/board")
    for tag in ("train/loss", "train/psnr", "lr"):
        assert [step for step, _ in scalars(logs, tag)] == [1, *range(10, 61, 10)]
    assert [step for step, _ in scalars(logs, "train/replay_loss")] == [30, 40, 50, 60]
    validation = [validation.psnr[0] for validation in checkpoint("board", 3).history.validation]
    assert [len(views) for views in validation] == [4, 4]
    losses = [np.mean([10 ** (-value / 10) for value in views]) for views in validation]
    for tag, expected in (("val/loss", losses), ("val/psnr", [np.mean(views) for views in validation])):
        steps, values = zip(*scalars(logs, tag), strict=True)
        assert steps == (40, 60)  # after the second chunk, and after the last one
        assert values == pytest.approx(expected)


def test_the_reference_networks_learn_a_stream(scene_only: Path) -> None:
    flags = f"{STREAM} {NERF} --num_epochs 2 --num_frames 2 --chunk_size 1 --num_iters_per_chunk 2 --exp_name n"
    train_online(flags)
    assert len(memory_of("n", 2)["frames"]) == 512


def test_rays_go_through_the_pixel_centers_that_are_given(scene_only: Path) -> None:
    train_online(f"{STREAM} --pixel_center 0.0 --exp_name corners")
    assert memory_of("corners", 3)["intrinsics"][0, 2] == 8.5
