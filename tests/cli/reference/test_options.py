"""The flags are the reference project's; help is quick; errors of other modules speak of these flags."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nerfcl.cli.reference import eval_main, online_main, train_main
from nerfcl.cli.reference.options import check_online, eval_parser, online_parser, spell, train_parser
from nerfcl.errors import Argument, NerfclError
from nerfcl.memory.rays import RayMemorySettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.training.settings import OptimiserSettings, TrainingSettings
from support.reference import PROJECT, RIGHT, STREAM

# What each flag takes, its default and its choices; REQUIRED has no default.
REQUIRED = object()
Flags = dict[str, tuple[type, Any, list[str] | None]]
ROOT = "/home/ubuntu/data/nerf_example_data/nerf_synthetic/lego"
SCENE_FLAGS: Flags = {
    "root_dir": (str, ROOT, None),
    "img_wh": (list, [800, 800], None),
    "spheric_poses": (bool, False, None),
    "N_samples": (int, 64, None),
    "N_importance": (int, 128, None),
    "use_disp": (bool, False, None),
}
SWITCHES = ("continual_mode", "distillation", "use_replay_buf", "use_soft_targets_for_replay", "dynamic_buffer_update")
SWITCHES += ("use_imgcentre_weight", "online_cl_mode", "save_plots")
TRAIN_FLAGS: Flags = {
    **SCENE_FLAGS,
    "dataset_name": (str, "blender", ["blender", "llff", "blender_online"]),
    "perturb": (float, 1.0, None),
    "noise_std": (float, 1.0, None),
    "loss_type": (str, "mse", ["mse"]),
    "batch_size": (int, 1024, None),
    "chunk": (int, 32768, None),
    "num_epochs": (int, 16, None),
    "num_gpus": (int, 1, None),
    "ckpt_path": (str, None, None),
    "prefixes_to_ignore": (list, ["loss"], None),
    "optimizer": (str, "adam", ["sgd", "adam", "radam", "ranger"]),
    "lr": (float, 5e-4, None),
    "momentum": (float, 0.9, None),
    "weight_decay": (float, 0, None),
    "lr_scheduler": (str, "steplr", ["steplr", "cosine", "poly"]),
    "warmup_multiplier": (float, 1.0, None),
    "warmup_epochs": (int, 0, None),
    "decay_step": (list, [20], None),
    "decay_gamma": (float, 0.1, None),
    "poly_exp": (float, 0.9, None),
    **dict.fromkeys(SWITCHES, (bool, False, None)),
    "train_view": (str, None, ["right", "left"]),
    "buffer_size": (int, 20480, None),
    "buffer_fill_mode": (str, None, ["topk", "uniform", "random"]),
    "buffer_sample_mode": (str, None, ["random", "weighted_random", "topk"]),
    "exploration_ratio": (float, 0.0, None),
    "imgcentre_ratio": (float, 0.3, None),
    **dict.fromkeys(("num_frames", "chunk_size", "num_iters_per_chunk"), (int, None, None)),
    "resume": (int, 0, None),
    **dict.fromkeys(("val_after_n_epochs", "exp_seed"), (int, REQUIRED, None)),
    "exp_name": (str, REQUIRED, None),
    "monitor": (str, REQUIRED, ["val/loss", "val/loss_l", "val/loss_r"]),
    "field": (str, "hashgrid", ["hashgrid", "nerf"]),
    "pixel_center": (float, 0.5, None),
    "device": (str, "auto", ["auto", "cpu", "cuda"]),
}
# The same, but a buffer without a size keeps everything.
ONLINE_FLAGS: Flags = {**TRAIN_FLAGS, "buffer_size": (int, None, None)}
EVAL_FLAGS: Flags = {
    **SCENE_FLAGS,
    "dataset_name": (str, "blender", ["blender", "llff", "blender_new1", "blender_new2"]),
    "scene_name": (str, "test", None),
    "split": (str, REQUIRED, ["test", "infer_train"]),
    "chunk": (int, 131072, None),
    "ckpt_path": (str, REQUIRED, None),
    "save_dir_name": (str, REQUIRED, None),
    "save_depth": (bool, False, None),
    "depth_format": (str, "pfm", ["pfm", "bytes"]),
    "test_view": (str, REQUIRED, ["right", "left", "NA"]),
    "field": (str, None, ["hashgrid", "nerf"]),
    "pixel_center": (float, None, None),
    "device": (str, "auto", ["auto", "cpu", "cuda"]),
}
PROGRAMS = ("train.py", "train_online.py", "eval.py")


@pytest.mark.parametrize(
    ("parser", "flags"),
    [(train_parser, TRAIN_FLAGS), (online_parser, ONLINE_FLAGS), (eval_parser, EVAL_FLAGS)],
    ids=PROGRAMS,
)
def test_flags_defaults_and_choices_are_the_reference_projects(
    parser: Callable[[], ArgumentParser], flags: Flags
) -> None:
    actions = {action.dest: action for action in parser()._actions if action.dest != "help"}
    assert actions.keys() == flags.keys()
    for name, (kind, default, choices) in flags.items():
        action = actions[name]
        assert action.option_strings == [f"--{name}"]
        assert action.required == (default is REQUIRED), name
        assert default is REQUIRED or action.default == default, name
        assert (None if action.choices is None else list(action.choices)) == choices, name
        assert (bool if action.nargs == 0 else list if action.nargs == "+" else action.type or str) is kind, name


@pytest.mark.parametrize(
    ("program", "told", "untold"),
    [
        ("train.py", ["--lr 2e-2 --lr_scheduler cosine", "the best five by --monitor"], ["--num_iters_per_chunk"]),
        (
            "train_online.py",
            ["--lr 2e-2", "--decay_step 1000", "--num_iters_per_chunk", "--resume FRAME", "plots/EXP_NAME"],
            ["--train_view"],
        ),
        ("eval.py", ["ROOT_DIR/stage1_losses/loss_I.pt"], []),
    ],
)
def test_help_is_quick_and_says_what_suits_the_hash_grid(
    program: str, told: list[str], untold: list[str], tmp_path: Path
) -> None:
    code = f"import runpy, sys; sys.argv = ['x', '--help']; sys.path.insert(0, '{PROJECT / 'src'}')\n"
    code += f"try: runpy.run_path(r'{PROJECT / program}', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in told)
    assert not any(text in done.stdout for text in untold)


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_the_package_the_programs_say_how_to_get_it(program: str, tmp_path: Path) -> None:
    bare = [sys.executable, "-S", str(PROJECT / program), "--help"]
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "pip install ." in done.stderr


@pytest.mark.parametrize(
    ("main", "program"), list(zip((train_main, online_main, eval_main), PROGRAMS, strict=True)), ids=PROGRAMS
)
@pytest.mark.parametrize("arguments", ["", "--unknown 1", f"{RIGHT} --exp_name x --field voxels"])
def test_the_parser_refuses_what_it_does_not_know(
    main: Callable[[list[str]], int], program: str, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    assert f"usage: {program}" in capsys.readouterr().err


def test_a_check_changes_no_flags() -> None:
    options = online_parser().parse_args(f"{STREAM} --exp_name x".split())
    before = dict(vars(options))
    check_online(options)
    assert vars(options) == before


@pytest.mark.parametrize(
    ("argument", "flag"),
    [
        (Argument("learning_rate", owner=OptimiserSettings), "--lr"),
        (Argument("rays", 0, TrainingSettings), "--batch_size 0"),
        (Argument("rays", 0, RayMemorySettings), "--buffer_size 0"),
        (Argument("fill", "best", RayMemorySettings), "--buffer_fill_mode best"),
        (Argument("exploration", 2.0, RayMemorySettings), "--exploration_ratio 2.0"),
        (Argument("use_disp", True, NerfSettings), "--use_disp"),
        (Argument("size", (1, 2)), "--img_wh 1 2"),
        (Argument("chunk_frames", 0), "--chunk_size 0"),
    ],
    ids=str,
)
def test_errors_of_other_modules_speak_of_these_flags(argument: Argument, flag: str) -> None:
    assert NerfclError(argument, ": is wrong").spelled(spell) == f"{flag}: is wrong"
