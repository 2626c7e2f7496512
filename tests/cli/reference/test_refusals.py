"""What cannot work is refused in one line that names the reference project's flags, before anything is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from nerfcl.cli.reference import eval_main, online_main, train_main
from nerfcl.cli.reference.options import eval_parser, train_parser
from support.reference import EVAL, FINETUNE_STREAM, LEFT, RIGHT, STREAM, TRAIN, checkpoint_path, train_online
from support.refusals import refused

Main = Callable[[Sequence[str]], int]
FLAGS = {flag for parser in (train_parser(), eval_parser()) for flag in parser._option_string_actions}
PROGRAMS: dict[Main, str] = {train_main: "train.py", online_main: "train_online.py", eval_main: "eval.py"}


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def assert_refused(main: Main, flags: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything_in(Path())
    line = refused(main, flags.split(), capsys)
    assert line.startswith(f"{PROGRAMS[main]}: ")
    assert why in line
    assert set(re.findall(r"(?<!\S)--\w[\w-]*", line)) <= FLAGS
    assert not re.search(r"(?<![\w/])[a-z_]+=", line), "an argument is spelled as in Python"
    assert everything_in(Path()) == before


def cases(table: dict[str, list[tuple[str, str]]]) -> list:
    """(flags, what the refusal says): what follows the common flags overrides them."""
    return [pytest.param(f"{base} {flags}", why, id=flags) for base, rows in table.items() for flags, why in rows]


# Of all programs.
SCENE = [
    ("--img_wh 16", "--img_wh 16: must be two numbers"),
    ("--img_wh 1 2 3", "--img_wh 1 2 3: must be two numbers"),
    ("--img_wh 4 4", "--img_wh 4 4: images must be at least"),
    ("--N_samples 2", "--N_samples 2: must be at least 3"),
    ("--N_importance -1", "--N_importance -1: must be at least 0"),
    ("--chunk 0", "--chunk 0: must be at least 1"),
    ("--root_dir nowhere", "--root_dir nowhere: "),
    ("--dataset_name llff", "--dataset_name llff: tiny holds no poses_bounds.npy; use --dataset_name blender"),
]
# Of both that train.
LEARNING = [
    *SCENE,
    ("--optimizer ranger", "--optimizer ranger: is not supported, since torch lacks it; use radam"),
    ("--num_gpus 2", "--num_gpus 2: must be 1"),
    ("--prefixes_to_ignore loss model", "--prefixes_to_ignore: "),
    ("--num_epochs 0", "--num_epochs 0: must be at least 1"),
    ("--val_after_n_epochs 0", "--val_after_n_epochs 0: must be at least 1"),
    ("--batch_size 0", "--batch_size 0: must be at least 1"),
    ("--batch_size 33554432", "--batch_size 33554432: more than"),
    ("--lr 0", "--lr 0.0: must be a positive number"),
    ("--momentum -1", "--momentum -1.0: must not be negative"),
    ("--poly_exp -1", "--poly_exp -1.0: must not be negative"),
    ("--warmup_multiplier 0.5", "--warmup_multiplier 0.5: must be at least 1"),
    ("--perturb -1", "--perturb -1.0: must be at least 0"),
    ("--noise_std nan", "--noise_std nan: must be at least 0"),
    ("--exp_name ../up", "--exp_name '../up': must name a folder inside ckpts/"),
    ("--exp_name /up", "--exp_name '/up': must name a folder inside ckpts/"),
    ("--pixel_center 2", "--pixel_center 2.0: must lie between 0 and 1"),
    ("--spheric_poses", "--spheric_poses: does not apply to the format of --root_dir tiny; leave it out"),
]
WEIGHTED = "--use_replay_buf --buffer_fill_mode topk --buffer_sample_mode weighted_random"
OF_R = "--ckpt_path ckpts/r/epoch=8.ckpt"
TRAIN_CASES = {
    f"{RIGHT} --num_epochs 20 --exp_name bad": [
        *LEARNING,
        ("--num_frames 100", "--num_frames: belongs to the online experiment; use train_online.py"),
        ("--resume 1", "--resume: belongs to the online experiment; use train_online.py"),
        ("--dataset_name blender_online", "--dataset_name blender_online: belongs to the online experiment"),
        ("--monitor val/loss", "--monitor val/loss: with --continual_mode it must be val/loss_r or val/loss_l"),
        (WEIGHTED, "--use_replay_buf: needs a past; give the first task's checkpoint with --ckpt_path"),
        ("--distillation", "--distillation: needs a past; give the first task's checkpoint with --ckpt_path"),
        ("--ckpt_path ckpts/absent.ckpt", "ckpts/absent.ckpt: no such checkpoint"),
        ("--ckpt_path tiny/transforms_val.json", "tiny/transforms_val.json: is damaged, or is not a nerfcl checkpoint"),
        (f"{OF_R} --batch_size 64", "--batch_size: ckpts/r/epoch=8.ckpt is of this task, begun with 128"),
        ("--exp_name r", "--exp_name ckpts/r: holds another run (it differs in num_epochs)"),
    ],
    f"{LEFT} --num_epochs 20 --exp_name bad": [
        ("--use_soft_targets_for_replay", "--use_soft_targets_for_replay: only with --use_replay_buf"),
        ("--buffer_size 100", "--buffer_size: only with --use_replay_buf"),
        ("--use_replay_buf", "--use_replay_buf: needs --buffer_fill_mode (topk, uniform or random)"),
        ("--field nerf", f"{OF_R}: holds field hashgrid, not nerf; use --field hashgrid"),
        ("--num_epochs 8", "give more, for example --num_epochs 16"),
        ("--pixel_center 0", "--pixel_center 0.0: the checkpoint's is 0.5; give the same"),
        ("--optimizer sgd", "the optimiser that it was trained with"),
    ],
    f"{LEFT} {WEIGHTED} --num_epochs 20 --exp_name bad": [
        ("--buffer_size 0", "--buffer_size 0: must be at least 1"),
        ("--exploration_ratio 2", "--exploration_ratio 2.0: must lie between 0 and 1"),
        ("--exploration_ratio 1 --buffer_sample_mode topk", "--exploration_ratio: only with --buffer_sample_mode wei"),
        ("--imgcentre_ratio 0.5", "--imgcentre_ratio: only with --use_imgcentre_weight"),
        ("--use_imgcentre_weight --imgcentre_ratio 2", "--imgcentre_ratio 2.0: must lie between 0 and 1"),
        ("--use_imgcentre_weight --buffer_sample_mode topk", "--use_imgcentre_weight: only with --buffer_sample_mode"),
    ],
    f"{TRAIN} --num_epochs 20 --exp_name bad": [
        ("--continual_mode --monitor val/loss_r", "--continual_mode: needs --train_view right or --train_view left"),
        ("--train_view right --monitor val/loss", "--train_view: only with --continual_mode"),
        ("--monitor val/loss_r", "--monitor val/loss_r: without --continual_mode it must be val/loss"),
        (f"--monitor val/loss --distillation {OF_R}", "--distillation: only with --continual_mode"),
        (f"--monitor val/loss {OF_R}", f"{OF_R}: learned 'right' views and cannot continue with 'all' views"),
    ],
}
ONLINE_CASES = {
    f"{STREAM} --exp_name bad": [
        *LEARNING,
        ("--continual_mode", "--continual_mode: is for tasks, which a stream does not have"),
        ("--train_view right", "--train_view: is for tasks, which a stream does not have"),
        ("--distillation", "--distillation: needs to know where tasks end"),
        ("--use_soft_targets_for_replay", "--use_soft_targets_for_replay: needs to know where tasks end"),
        ("--ckpt_path x", "--ckpt_path: is for train.py"),
        ("--num_frames 0", "--num_frames 0: must be at least 1"),
        ("--chunk_size 0", "--chunk_size 0: must be at least 1"),
        ("--num_iters_per_chunk 0", "--num_iters_per_chunk 0: must be at least 1"),
        ("--num_frames 8", "--num_frames 8: must lie between 1 and 6"),
        ("--num_epochs 4", "give at most --num_epochs 3"),
        ("--monitor val/loss_r", "--monitor val/loss_r: a stream has no sides; it must be val/loss"),
        ("--buffer_size 0", "--buffer_size 0: must be at least 1"),
        ("--exploration_ratio 1.5", "--exploration_ratio 1.5: must lie between 0 and 1"),
        ("--exploration_ratio 1 --buffer_sample_mode topk", "--exploration_ratio: only with --buffer_sample_mode wei"),
        ("--imgcentre_ratio 0.5", "--imgcentre_ratio: only with --use_imgcentre_weight"),
        ("--resume 3", "--resume 3: must be the first frame of a chunk to be learned: a multiple of"),
        ("--resume 6", "--resume 6: must be the first frame of a chunk"),
        ("--resume -2", "--resume -2: must be the first frame of a chunk"),
        ("--resume 2", "--resume 2: ckpts/bad/epoch=1.ckpt is missing; there are no others, either"),
    ],
    f"{FINETUNE_STREAM} --exp_name bad": [
        ("--buffer_size 100", "--buffer_size: only with --use_replay_buf"),
        ("--dynamic_buffer_update", "--dynamic_buffer_update: only with --use_replay_buf"),
    ],
}
EVAL_CASES = {
    f"{EVAL} --split test --test_view NA": [
        *SCENE,
        ("--dataset_name blender_new1", "--dataset_name blender_new1: these images are not part of the published"),
        ("--depth_format bytes", "--depth_format bytes: only with --save_depth"),
        ("--ckpt_path no.ckpt", "no.ckpt: no such checkpoint"),
        ("--field nerf", f"{OF_R}: holds field hashgrid, not nerf"),
        ("--pixel_center -1", "--pixel_center -1.0: must lie between 0 and 1"),
        ("--save_dir_name ../..", "--save_dir_name '../..': must name a folder inside results/"),
        ("--scene_name /lego", "--scene_name '/lego': must name a folder inside results/"),
        ("--split infer_train --test_view right", "--test_view right: --split infer_train renders all train views"),
        ("--split infer_train --root_dir builtin", "--root_dir builtin: cannot be written to"),
    ]
}


@pytest.mark.parametrize(("flags", "why"), cases(TRAIN_CASES))
def test_train_refuses(here: Path, flags: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(train_main, flags, why, capsys)


@pytest.mark.parametrize(("flags", "why"), cases(ONLINE_CASES))
def test_train_online_refuses(scene_only: Path, flags: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(online_main, flags, why, capsys)


@pytest.mark.parametrize(("flags", "why"), cases(EVAL_CASES))
def test_eval_refuses(here: Path, flags: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(eval_main, flags, why, capsys)


@pytest.mark.parametrize("flag", ["online_cl_mode", "num_frames", "chunk_size", "num_iters_per_chunk"])
def test_train_online_must_be_told_how_frames_come(
    scene_only: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = re.sub(rf" --{flag}( \d+)?", "", STREAM)
    assert_refused(online_main, f"{command} --exp_name bad", f"--{flag}: is missing", capsys)


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (train_main, f"{RIGHT} --num_epochs 20 --exp_name bad"),
        (online_main, f"{STREAM} --exp_name bad"),
        (eval_main, f"{EVAL} --split test --test_view NA"),
    ],
    ids=PROGRAMS.values(),
)
def test_all_programs_refuse_what_the_machine_or_the_folder_lacks(
    here: Path, main: Main, flags: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(main, f"{flags} --device cuda", "--device cuda: torch finds no CUDA device; use cpu", capsys)
    Path("tiny/poses_bounds.npy").touch()
    assert_refused(main, flags, "tiny holds poses_bounds.npy; use --dataset_name llff", capsys)


@pytest.mark.parametrize("importance", [0, 4])
def test_samples_must_suit_the_networks_of_the_checkpoint(
    scene_only: Path, importance: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = f"{STREAM} --field nerf --N_samples 4 --num_frames 1 --chunk_size 1 --num_epochs 1 --num_iters_per_chunk 1"
    train_online(f"{flags} --N_importance {importance} --exp_name n")
    scoring = f"{EVAL} --ckpt_path ckpts/n/epoch=1.ckpt --split test --test_view NA"
    held = "a fine network" if importance else "no fine network"
    why = f"--N_importance {4 - importance}: the checkpoint has {held}"
    assert_refused(eval_main, f"{scoring} --N_importance {4 - importance}", why, capsys)
    assert_refused(eval_main, f"{scoring} --field hashgrid", "holds field nerf, not hashgrid; use --field nerf", capsys)


def test_what_does_not_fit_the_run_that_is_there_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_online(f"{STREAM} --exp_name o")
    checkpoint_path("o", 2).unlink()
    for main, flags, why in (
        (online_main, f"{STREAM} --exp_name o --resume 4", "ckpts/o/epoch=2.ckpt is missing; give one of 2"),
        (online_main, f"{STREAM} --exp_name o --num_iters_per_chunk 9", "(it differs in num_iters_per_chunk)"),
        (train_main, f"{RIGHT} --exp_name bad --ckpt_path ckpts/o/epoch=3.ckpt", "was not written by train.py"),
    ):
        assert_refused(main, flags, why, capsys)


def test_a_checkpoint_of_another_scene_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    why = "--ckpt_path: is of a scene with a different number of rays; give the same --root_dir"
    Path("tiny/transforms_train.json").write_text(Path("tiny/transforms_val.json").read_text())
    flags = f"{RIGHT} --num_epochs 20 --exp_name bad --ckpt_path ckpts/r/epoch=8.ckpt"
    assert_refused(train_main, flags, why, capsys)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_stream_without_views_to_evaluate_is_refused(
    scene_only: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"tiny/transforms_{split}.json").write_text('{"camera_angle_x": 0.7, "frames": []}')
    assert_refused(online_main, f"{STREAM} --exp_name bad", f"tiny/transforms_{split}.json: has no 'frames'", capsys)


def test_a_side_without_views_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = json.loads(Path("tiny/transforms_test.json").read_text())
    description["frames"] = description["frames"][:2]  # both are right
    Path("tiny/transforms_test.json").write_text(json.dumps(description))
    assert_refused(eval_main, f"{EVAL} --split test --test_view left", "--test_view left: scene 'tiny' has no", capsys)
    assert_refused(train_main, f"{RIGHT} --exp_name bad", "--train_view right left: scene 'tiny' has no test", capsys)


def test_a_loss_that_is_not_finite_ends_training_with_advice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"{RIGHT} --optimizer sgd --lr 1e30 --num_epochs 8 --exp_name diverged"
    assert train_main(flags.split()) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("training diverged; lower --lr")


@pytest.mark.parametrize("how", ["marked read-only", "in the way"])
def test_a_root_that_cannot_be_written_is_refused_before_rendering(
    here: Path, how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the superuser, whom the system would let write."""
    if how == "in the way":
        Path("tiny/soft_targets").write_text("a file where the folder should be")
    else:
        Path("tiny").chmod(0o555)
    monkeypatch.setattr("nerfcl.training.evaluation.render_image", None)
    try:
        flags = f"{EVAL} --split infer_train --test_view NA"
        assert_refused(eval_main, flags, "tiny/soft_targets: cannot be written", capsys)
    finally:
        Path("tiny").chmod(0o755)
