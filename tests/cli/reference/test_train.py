"""The reference project's command lines: the same flags, the same arithmetic of epochs, the same files."""

from __future__ import annotations

import contextlib
import math
import runpy
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from nerfcl.cli.reference import eval_main as evaluate
from nerfcl.cli.reference import train_main as train
from nerfcl.cli.reference.options import eval_parser, in_these_words, train_parser
from nerfcl.cli.reference.watching import CheckpointKeeper
from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import render_image
from nerfcl.models.settings import NerfModel
from nerfcl.scenes import load_scene
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint
from nerfcl.training.learner import History

PROJECT = Path(__file__).resolve().parents[1]
ROOT = "/home/ubuntu/data/nerf_example_data/nerf_synthetic/lego"
SAMPLING = {"N_samples": (int, 64, None), "N_importance": (int, 128, None), "use_disp": (bool, False, None)}
SCENE = {"root_dir": (str, ROOT, None), "img_wh": (list, [800, 800], None), "spheric_poses": (bool, False, None)}
# What each flag takes, its default and its choices; REQUIRED has no default.
REQUIRED = object()
TRAIN_FLAGS: dict[str, tuple[type, Any, list[str] | None]] = {
    **SCENE,
    **SAMPLING,
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
    "continual_mode": (bool, False, None),
    "train_view": (str, None, ["right", "left"]),
    "distillation": (bool, False, None),
    "use_replay_buf": (bool, False, None),
    "buffer_size": (int, 20480, None),
    "buffer_fill_mode": (str, None, ["topk", "uniform", "random"]),
    "buffer_sample_mode": (str, None, ["random", "weighted_random", "topk"]),
    "use_soft_targets_for_replay": (bool, False, None),
    "exploration_ratio": (float, 0.0, None),
    "dynamic_buffer_update": (bool, False, None),
    "use_imgcentre_weight": (bool, False, None),
    "imgcentre_ratio": (float, 0.3, None),
    "online_cl_mode": (bool, False, None),
    "num_frames": (int, None, None),
    "chunk_size": (int, None, None),
    "num_iters_per_chunk": (int, None, None),
    "save_plots": (bool, False, None),
    "resume": (int, 0, None),
    "val_after_n_epochs": (int, REQUIRED, None),
    "exp_name": (str, REQUIRED, None),
    "exp_seed": (int, REQUIRED, None),
    "monitor": (str, REQUIRED, ["val/loss", "val/loss_l", "val/loss_r"]),
    "field": (str, "hashgrid", ["hashgrid", "nerf"]),
    "pixel_center": (float, 0.5, None),
    "device": (str, "auto", ["auto", "cpu", "cuda"]),
}
EVAL_FLAGS: dict[str, tuple[type, Any, list[str] | None]] = {
    **SCENE,
    **SAMPLING,
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

SHARED = "--root_dir tiny --img_wh 16 16 --batch_size 128 --lr 2e-2 --lr_scheduler cosine --exp_seed 42 --device cpu"
SHARED += " --val_after_n_epochs 1"
RIGHT = f"{SHARED} --continual_mode --train_view right --monitor val/loss_r"
LEFT = f"{SHARED} --continual_mode --train_view left --monitor val/loss_l --ckpt_path ckpts/r/epoch=8.ckpt"
REPLAY = "--use_replay_buf --buffer_size 100 --buffer_fill_mode topk --buffer_sample_mode weighted_random"
REPLAY += " --exploration_ratio 0.2 --dynamic_buffer_update"
EVAL = "--root_dir tiny --img_wh 16 16 --device cpu --save_dir_name results --ckpt_path ckpts/r/epoch=8.ckpt"
NERF = "--field nerf --N_samples 4 --N_importance 4 --noise_std 0 --lr 5e-4"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def kept(name: str) -> list[int]:
    return sorted(int(path.stem.removeprefix("epoch=")) for path in Path("ckpts", name).glob("*.ckpt"))


def checkpoint(name: str, epoch: int) -> Checkpoint:
    return load_checkpoint(Path("ckpts", name, f"epoch={epoch}.ckpt"))


def same(one: Any, other: Any) -> bool:
    """Whether two nests of tensors and numbers are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def equal_learners(one: Checkpoint, other: Checkpoint) -> bool:
    names = ("model", "optimiser", "strategy_state", "order", "generator", "at", "done", "epochs")
    return all(same(getattr(one, name), getattr(other, name)) for name in names)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    """A folder with the tiny scene, in which the right side was learned for eight epochs."""
    folder = tmp_path_factory.mktemp("reference")
    shutil.copytree(shared_scene, folder / "tiny")
    with contextlib.chdir(folder):
        assert train(f"{RIGHT} --num_epochs 8 --exp_name r".split()) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, to work in."""
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("parser", "flags"), [(train_parser, TRAIN_FLAGS), (eval_parser, EVAL_FLAGS)])
def test_flags_are_the_reference_projects(parser: Callable[[], Any], flags: dict[str, tuple[type, Any, Any]]) -> None:
    actions = {action.dest: action for action in parser()._actions if action.dest != "help"}
    assert actions.keys() == flags.keys()
    for name, (kind, default, choices) in flags.items():
        action = actions[name]
        assert action.option_strings == [f"--{name}"]
        assert action.required == (default is REQUIRED), name
        assert default is REQUIRED or action.default == default, name
        assert (None if action.choices is None else list(action.choices)) == choices, name
        if kind is bool:
            assert action.nargs == 0, name
        elif kind is list:
            assert action.nargs == "+", name
        else:
            assert (action.type or str) is kind, name


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_help_is_quick_and_says_what_suits_the_grid_field(program: str, tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.argv = ['x', '--help']; sys.path.insert(0, '{PROJECT / 'src'}')\n"
    code += f"try: runpy.run_path(r'{PROJECT / program}', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if program == "train.py":
        assert "2e-2" in done.stdout


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_without_the_package_the_programs_say_how_to_get_it(program: str, tmp_path: Path) -> None:
    bare = [sys.executable, "-S", str(PROJECT / program), "--help"]
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "pip install ." in done.stderr


def test_the_four_command_lines_in_order(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the reference project's README, on a smaller scene, for fewer epochs."""
    shutil.rmtree("ckpts")
    shutil.rmtree("logs")
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
        monkeypatch.setattr(sys, "argv", [program, *flags.split()])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(PROJECT / program), run_name="__main__")
        assert end.value.code == 0
        assert written in capsys.readouterr().out
        assert (here / written).exists()
    assert kept("exp_train_r") == [1, 2]
    assert kept("exp_train_l") == [3, 4]
    assert files_in(here / "results") == {"blender/lego/results/" + name for name in ("r_0.png", "r_1.png", "lego.gif")}


def test_epochs_count_from_the_start_of_the_first_task(here: Path) -> None:
    assert train(f"{LEFT} --num_epochs 10 --exp_name l".split()) == 0
    assert kept("l") == [9, 10]
    last = checkpoint("l", 10)
    steps = 3 * 16 * 16 // 128
    assert (last.epochs, last.done, last.at) == (8, 1, 2 * steps)
    assert last.history.steps == 10 * steps
    assert last.run["tasks"] == ["right", "left"]


def test_the_optimiser_and_the_schedule_go_on_with_the_second_task(here: Path) -> None:
    assert train(f"{LEFT} --num_epochs 10 --exp_name l".split()) == 0
    first, second = checkpoint("r", 8).optimiser, checkpoint("l", 10).optimiser
    assert first is not None
    assert second is not None
    assert second["count"] == first["count"] * 10 / 8
    rates = dict(scalars(Path("logs/l"), "lr"))
    for step, rate in rates.items():  # the epoch is counted from the start, and the cosine ends at the tenth
        assert rate == pytest.approx(2e-2 * 0.5 * (1.0 + math.cos(math.pi * ((step - 1) // 6) / 10)), rel=1e-5)
    assert rates


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_best_five_and_the_last_checkpoint_stay(here: Path) -> None:
    assert train(f"{RIGHT} --num_epochs 12 --exp_name longer".split()) == 0
    losses = {step // 6: value for step, value in scalars(Path("logs/longer"), "val/loss_r")}
    assert sorted(losses) == list(range(1, 13))
    best = sorted(losses, key=lambda epoch: losses[epoch])[:5]
    assert kept("longer") == sorted({*best, 12})


def test_which_checkpoints_stay_does_not_depend_on_luck(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = iter([5.0, 1.0, 2.0, 9.0, 8.0, 3.0, 4.0, 7.0, 6.0])
    monkeypatch.setattr("nerfcl.cli.reference.watching.validation_losses", lambda _: [next(written)])
    monkeypatch.setattr("nerfcl.cli.reference.watching.save_checkpoint", lambda path, *_: path.touch())
    Path("kept").mkdir()
    keeper = CheckpointKeeper(Path("kept"), Learned(), None, {}, 0, 20, 10)  # type: ignore[arg-type]
    stay = []
    for epoch in range(1, 10):
        keeper.learner.at = 10 * epoch
        keeper.looked(History())
        stay.append(sorted(keeper.losses))
        assert sorted(path.name for path in Path("kept").iterdir()) == sorted(f"epoch={e}.ckpt" for e in keeper.losses)
    assert stay[4] == [21, 22, 23, 24, 25]
    assert stay[5] == [21, 22, 23, 25, 26]
    assert stay[-1] == [21, 22, 23, 26, 27, 29]


class Learned:
    at = 0


def test_validation_losses_are_of_the_first_views_of_each_side(here: Path) -> None:
    last = checkpoint("r", 8)
    model = last.model_settings.build(0)
    model.load_state_dict(last.model)
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


def interrupted_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CheckpointKeeper.looked

    def stop(keeper: CheckpointKeeper, history: History) -> None:
        whole(keeper, history)
        if epoch in keeper.losses:
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointKeeper, "looked", stop)


@pytest.mark.parametrize("options", [f"{REPLAY} --distillation", "--distillation", ""])
def test_the_same_command_goes_on_exactly_after_an_interruption(
    here: Path, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{LEFT} {options} --num_epochs 12 --exp_name".split()
    assert train([*command, "whole"]) == 0
    with monkeypatch.context() as patch:
        interrupted_after(10, patch)
        assert train([*command, "parts"]) == 130
    assert "same command" in capsys.readouterr().err
    assert kept("parts") == [9, 10]
    assert train([*command, "parts"]) == 0
    assert kept("parts") == kept("whole")
    assert equal_learners(checkpoint("parts", 12), checkpoint("whole", 12))
    assert len(scalars(Path("logs/parts"), "val/loss_l")) == 4
    before = Path("ckpts/parts/epoch=12.ckpt").stat().st_mtime_ns
    assert train([*command, "parts"]) == 0  # nothing is left to do
    assert Path("ckpts/parts/epoch=12.ckpt").stat().st_mtime_ns == before


def test_a_checkpoint_within_a_task_is_gone_on_with_exactly(here: Path) -> None:
    """Also from the last epoch of a finished run. The schedule must not know where runs end."""
    plain = RIGHT.replace("--lr_scheduler cosine", "--lr_scheduler steplr --decay_step 4")
    assert train(f"{plain} --num_epochs 7 --exp_name whole".split()) == 0
    assert train(f"{plain} --num_epochs 3 --exp_name begun".split()) == 0
    assert train(f"{plain} --num_epochs 7 --exp_name on --ckpt_path ckpts/begun/epoch=3.ckpt".split()) == 0
    assert equal_learners(checkpoint("whole", 7), checkpoint("on", 7))


def test_without_continual_mode_all_views_are_learned(here: Path) -> None:
    assert train(f"{SHARED} --monitor val/loss --num_epochs 2 --exp_name all".split()) == 0
    last = checkpoint("all", 2)
    assert last.at == 2 * 6 * 16 * 16 // 128
    assert last.run["tasks"] == ["all"]
    assert len(scalars(Path("logs/all"), "val/loss")) == 2


def write_recollections(here: Path) -> None:
    assert evaluate(f"{EVAL} --split infer_train --test_view NA".split()) == 0


def test_infer_train_writes_what_the_model_makes_of_all_train_views(here: Path) -> None:
    write_recollections(here)
    saved = checkpoint("r", 8)
    model = saved.model_settings.build(0)
    model.load_state_dict(saved.model)
    views = load_scene("tiny", (16, 16)).train
    assert files_in(here / "tiny/soft_targets") == {f"r_{i}.png" for i in range(6)}
    assert files_in(here / "tiny/stage1_losses") == {f"loss_{i}.pt" for i in range(6)}
    for i in range(6):
        rgb = render_image(model, views.camera(i)).rgb
        image = np.asarray(Image.open(f"tiny/soft_targets/r_{i}.png"))
        assert np.array_equal(image, (rgb.clamp(0.0, 1.0) * 255.0).round().byte().numpy())
        losses = torch.load(f"tiny/stage1_losses/loss_{i}.pt", weights_only=True)
        assert losses.shape == (16, 16)
        assert losses.dtype == torch.float32
        torch.testing.assert_close(losses, (rgb - views.images[i] / 255.0).square().mean(-1))


def test_losses_are_read_where_they_are_and_else_computed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both give the same memory; other losses fill it with other rays."""
    command = f"{LEFT} {REPLAY} --num_epochs 9 --exp_name".split()
    assert train([*command, "computed"]) == 0
    assert "stage1_losses" in (said := capsys.readouterr().out)
    assert "computed" in said
    write_recollections(here)
    assert train([*command, "read"]) == 0
    assert f"3 files from {Path('tiny/stage1_losses')}" in capsys.readouterr().out
    for i in range(3):  # the right side's frames; what is worst is now the last row of the last of them
        losses = torch.zeros(16, 16)
        losses[-1] = 1.0 if i == 2 else 0.0
        torch.save(losses, f"tiny/stage1_losses/loss_{i}.pt")
    row = [word if word != "100" else "16" for word in command]
    assert train([*row, "other"]) == 0
    memories = [(checkpoint(name, 9).strategy_state or {})["memory"] for name in ("computed", "read", "other")]
    rays = [set(zip(memory["frames"].tolist(), memory["pixels"].tolist(), strict=True)) for memory in memories]
    assert len(rays[0]) == 100
    assert len(rays[0] & rays[1]) >= 99  # views are rendered in other portions
    assert {pixel for _, pixel in rays[2]} == set(range(240, 256))
    assert len(memories[2]["poses"]) == 1


def test_soft_targets_are_read_where_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recollections(here)
    grey = np.full((16, 16, 3), 77, np.uint8)
    for i in range(6):
        Image.fromarray(grey + i).save(f"tiny/soft_targets/r_{i}.png")
    options = "--use_soft_targets_for_replay --distillation"
    assert train(f"{LEFT} {REPLAY} {options} --num_epochs 9 --exp_name soft".split()) == 0
    state = checkpoint("soft", 9).strategy_state or {}
    assert {*state["memory"]["colours"].unique().tolist()} <= {77, 78, 79}  # of the right side, frames 0 to 2
    assert {*state["soft_targets"]["colours"].unique().tolist()} == {80, 81, 82}


@pytest.mark.parametrize("what", ["soft_targets", "stage1_losses", "damaged"])
def test_recollections_of_another_size_are_refused(here: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_recollections(here)
    if what == "soft_targets":
        Image.new("RGB", (20, 16)).save(file := "tiny/soft_targets/r_3.png")
    elif what == "stage1_losses":
        torch.save(torch.zeros(16, 20), file := "tiny/stage1_losses/loss_1.pt")
    else:
        Path(file := "tiny/stage1_losses/loss_1.pt").write_bytes(b"no tensor")
    assert train(f"{LEFT} {REPLAY} --distillation --num_epochs 9 --exp_name l".split()) == 2
    error = capsys.readouterr().err
    assert file in error
    assert what == "damaged" or ("20x16" in error and "16x16" in error)
    assert not Path("ckpts/l").exists()


@pytest.mark.parametrize("fill", ["topk", "uniform", "random"])
@pytest.mark.parametrize("draw", ["random", "weighted_random", "topk"])
def test_every_combination_of_replay_works(here: Path, fill: str, draw: str) -> None:
    extras = ["", "--dynamic_buffer_update", "--use_soft_targets_for_replay", "--distillation"]
    if draw == "weighted_random":
        extras += ["--exploration_ratio 0.5", "--use_imgcentre_weight"]
    everything = " ".join(extras)
    options = f"--use_replay_buf --buffer_size 100 --buffer_fill_mode {fill} --buffer_sample_mode {draw}"
    for number, extra in enumerate([*extras, everything]):
        command = f"{LEFT} {options} {extra} --num_epochs 9 --exp_name {number}".replace("size 128", "size 256")
        assert train(command.split()) == 0
        state = checkpoint(str(number), 9).strategy_state or {}
        assert len(state["memory"]["frames"]) == 100
        assert bool(len(state["soft_targets"]["colours"])) == ("--distillation" in extra)


@pytest.mark.parametrize("optimiser", ["sgd", "radam"])
@pytest.mark.parametrize("schedule", ["steplr", "cosine", "poly"])
def test_optimisers_and_schedules(here: Path, optimiser: str, schedule: str) -> None:
    flags = f"{RIGHT} --optimizer {optimiser} --num_epochs 2 --exp_name o --warmup_epochs 1 --weight_decay 1e-6"
    assert train(f"{flags} --lr_scheduler {schedule}".split()) == 0
    assert checkpoint("o", 2).at == 12


def test_a_buffer_larger_than_the_rays_there_are_keeps_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"{LEFT} {REPLAY} --num_epochs 9 --exp_name l".replace("size 100", "size 5000")
    assert train(command.split()) == 0
    assert "768" in capsys.readouterr().out.splitlines()[1]
    assert len((checkpoint("l", 9).strategy_state or {})["memory"]["frames"]) == 768


def test_mean_psnr_is_that_of_the_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for view, positions in (("right", [0, 1]), ("left", [2, 3]), ("NA", [0, 1, 2, 3])):
        folder = here / "results/blender/ball" / view
        command = EVAL.replace("results", view, 1)
        assert evaluate(f"{command} --scene_name ball --split test --test_view {view}".split()) == 0
        truth = load_scene("tiny", (16, 16)).test.images
        images = [np.asarray(Image.open(folder / f"r_{i}.png")) for i in range(len(positions))]
        assert files_in(folder) == {*(f"r_{i}.png" for i in range(len(positions))), "ball.gif"}
        mean = np.mean([psnr(image, truth[p].numpy()) for image, p in zip(images, positions, strict=True)])
        said = capsys.readouterr().out
        assert said.startswith(f"Mean PSNR : {mean:.2f}\n")
        assert str(Path("results/blender/ball") / view) in said
        frames = imageio.imread(folder / "ball.gif")
        assert frames.shape[:3] == (len(positions), 16, 16)
        assert imageio.immeta(folder / "ball.gif")["duration"] == 30  # a GIF counts hundredths of a second


def read_pfm(path: Path) -> np.ndarray:
    """(H, W) with the top row first; as the format is described by its author, P. Debevec."""
    kind, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert kind == b"Pf"
    width, height = map(int, size.split())
    order = "<" if float(scale) < 0 else ">"
    values = struct.unpack(f"{order}{width * height}f", data)
    return np.array([values[row * width : (row + 1) * width] for row in reversed(range(height))])


def test_depths_are_the_models(here: Path) -> None:
    saved = checkpoint("r", 8)
    model = saved.model_settings.build(0)
    model.load_state_dict(saved.model)
    views = load_scene("tiny", (16, 16)).test
    command = f"{EVAL} --split test --test_view left --save_depth"
    assert evaluate(command.split()) == 0
    assert evaluate(f"{command} --depth_format bytes".split()) == 0
    folder = Path("results/blender/test/results")
    for i, position in enumerate([2, 3]):
        depth = render_image(model, views.camera(position)).depth.numpy()
        assert np.array_equal(read_pfm(folder / f"depth_00{i}.pfm"), depth)
        raw = np.frombuffer((folder / f"depth_00{i}").read_bytes(), "<f4").reshape(16, 16)
        assert np.array_equal(raw, depth)
        assert depth.max() > 1.0


def test_the_reference_network_works_from_end_to_end(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = f"{RIGHT} {NERF} --num_epochs 1 --exp_name nr".replace("size 128", "size 384")
    assert train(first.split()) == 0
    second = LEFT.replace("ckpts/r/epoch=8", "ckpts/nr/epoch=1").replace("size 128", "size 384")
    assert train(f"{second} {NERF} {REPLAY} --distillation --num_epochs 2 --exp_name nl".split()) == 0
    settings = checkpoint("nl", 2).model_settings
    assert isinstance(settings, NerfModel)
    assert (settings.sampling.samples, settings.sampling.importance) == (4, 4)
    scoring = EVAL.replace("ckpts/r/epoch=8", "ckpts/nl/epoch=2") + " --split test --test_view right"
    depths = []
    for samples in ("4", "8"):  # how rays are sampled is not the checkpoint's to decide
        assert evaluate(f"{scoring} --N_samples {samples} --N_importance 4 --save_depth".split()) == 0
        depths.append(read_pfm(Path("results/blender/test/results/depth_000.pfm")))
    assert not np.allclose(depths[0], depths[1])
    capsys.readouterr()
    assert evaluate(f"{scoring} --N_importance 0".split()) == 2
    assert "no fine network" not in (said := capsys.readouterr().err)
    assert "--N_importance 0" in said
    assert evaluate(f"{scoring} --field hashgrid".split()) == 2
    assert "--field nerf" in capsys.readouterr().err


def test_pixel_centers_are_the_checkpoints_unless_told_otherwise(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(f"{RIGHT} --pixel_center 0.0 --num_epochs 3 --exp_name corners".split()) == 0
    command = EVAL.replace("ckpts/r/epoch=8", "ckpts/corners/epoch=3") + " --split test --test_view right"
    said = []
    capsys.readouterr()
    for flags in ("", "--pixel_center 0.0", "--pixel_center 0.5"):
        assert evaluate(f"{command} {flags}".split()) == 0
        said.append(capsys.readouterr().out.splitlines()[0])
    assert said[0] == said[1] != said[2]


BAD_TRAIN = {
    "online": (f"{RIGHT} --num_frames 100", "train_online.py"),
    "online data": (f"{RIGHT} --dataset_name blender_online", "train_online.py"),
    "online resume": (f"{RIGHT} --resume 1", "train_online.py"),
    "ranger": (f"{RIGHT} --optimizer ranger", "radam"),
    "gpus": (f"{RIGHT} --num_gpus 2", "--num_gpus"),
    "prefixes": (f"{RIGHT} --prefixes_to_ignore loss model", "--prefixes_to_ignore"),
    "no view": (f"{SHARED} --continual_mode --monitor val/loss_r", "--train_view"),
    "no mode": (f"{SHARED} --train_view right --monitor val/loss", "--continual_mode"),
    "monitor": (f"{RIGHT} --monitor val/loss", "val/loss_r"),
    "no past": (f"{RIGHT} {REPLAY}", "--ckpt_path"),
    "no buffer": (f"{LEFT} --use_soft_targets_for_replay", "--use_replay_buf"),
    "no modes": (f"{LEFT} --use_replay_buf", "--buffer_fill_mode"),
    "exploration": (f"{LEFT} {REPLAY} --buffer_sample_mode topk", "weighted_random"),
    "exploration 2": (f"{LEFT} {REPLAY} --exploration_ratio 2", "between 0 and 1"),
    "centre": (f"{LEFT} {REPLAY} --imgcentre_ratio 0.5", "--use_imgcentre_weight"),
    "centre draw": (
        f"{LEFT} --use_replay_buf --use_imgcentre_weight --buffer_fill_mode topk --buffer_sample_mode random",
        "weighted_random",
    ),
    "empty buffer": (f"{LEFT} {REPLAY} --buffer_size 0", "--buffer_size"),
    "one size": (f"{RIGHT} --img_wh 16", "--img_wh"),
    "small": (f"{RIGHT} --img_wh 4 4", "--img_wh"),
    "root": (f"{RIGHT} --root_dir nowhere", "--root_dir"),
    "llff": (f"{RIGHT} --dataset_name llff", "--dataset_name blender"),
    "spheric": (f"{RIGHT} --spheric_poses", "--spheric_poses"),
    "rate": (f"{RIGHT} --lr 0", "--lr "),
    "batch": (f"{RIGHT} --batch_size 0", "--batch_size"),
    "no epochs": (f"{RIGHT} --num_epochs 0", "--num_epochs"),
    "no validation": (f"{RIGHT} --val_after_n_epochs 0", "--val_after_n_epochs"),
    "name": (f"{RIGHT} --exp_name ../up", "--exp_name"),
    "center": (f"{RIGHT} --pixel_center 2", "--pixel_center"),
    "absent": (f"{RIGHT} --ckpt_path ckpts/absent.ckpt", "absent.ckpt"),
    "no checkpoint": (f"{RIGHT} --ckpt_path tiny/transforms_val.json", "transforms_val.json"),
    "field": (f"{LEFT} --field nerf", "--field hashgrid"),
    "past epochs": (f"{LEFT} --num_epochs 8", "--num_epochs 16"),
    "other center": (f"{LEFT} --pixel_center 0", "--pixel_center"),
    "other optimiser": (f"{LEFT} --optimizer sgd", "optimiser"),
    "other task": (f"{SHARED} --monitor val/loss --ckpt_path ckpts/r/epoch=8.ckpt", "--ckpt_path"),
    "same task otherwise": (f"{RIGHT} --ckpt_path ckpts/r/epoch=8.ckpt --batch_size 64", "--batch_size"),
    "another run": (f"{RIGHT} --exp_name r", "--exp_name"),
}


@pytest.mark.parametrize("case", BAD_TRAIN)
def test_bad_input_to_train_is_refused_before_anything_is_written(
    here: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, needle = BAD_TRAIN[case]
    before = files_in(here)
    given = f"{flags}" if "--exp_name" in flags else f"{flags} --exp_name bad"
    assert train((given if "--num_epochs" in given else f"{given} --num_epochs 20").split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: ")
    assert needle in error
    assert "Traceback" not in error
    assert files_in(here) == before


BAD_EVAL = {
    "published": ("--split test --test_view NA --dataset_name blender_new1", "published"),
    "side of train": ("--split infer_train --test_view right", "--test_view"),
    "format": ("--split test --test_view NA --depth_format bytes", "--save_depth"),
    "absent": ("--split test --test_view NA --ckpt_path no.ckpt", "no.ckpt"),
    "field": ("--split test --test_view NA --field nerf", "--field"),
    "size": ("--split test --test_view NA --img_wh 1 2 3", "--img_wh"),
    "llff": ("--split test --test_view NA --dataset_name llff", "--dataset_name blender"),
    "folder": ("--split test --test_view NA --save_dir_name ../..", "--save_dir_name"),
    "builtin": ("--split infer_train --test_view NA --root_dir builtin", "--root_dir"),
}


@pytest.mark.parametrize("case", BAD_EVAL)
def test_bad_input_to_eval_is_refused_before_anything_is_written(
    here: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, needle = BAD_EVAL[case]
    before = files_in(here)
    assert evaluate(f"{EVAL} {flags}".split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("eval.py: ")
    assert needle in error
    assert files_in(here) == before


@pytest.mark.parametrize("how", ["marked read-only", "in the way"])
def test_a_root_that_cannot_be_written_is_refused_before_rendering(
    here: Path, how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the superuser, whom the system would let write."""
    if how == "in the way":
        Path("tiny/soft_targets").write_text("a file where the folder should be")
    else:
        Path("tiny").chmod(0o555)
    before = files_in(here)
    monkeypatch.setattr("nerfcl.cli.reference.evaluate.render_image", None)
    code = evaluate(f"{EVAL} --split infer_train --test_view NA".split())
    Path("tiny").chmod(0o755)
    assert code == 2
    assert "tiny/soft_targets: cannot be written" in capsys.readouterr().err
    assert files_in(here) == before


@pytest.mark.parametrize("arguments", ["", "--unknown 1", f"{RIGHT} --exp_name x --buffer_fill_mode worst"])
def test_the_parsers_own_errors(arguments: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train(arguments.split())
    assert end.value.code == 2
    assert "usage: train.py" in capsys.readouterr().err


def test_errors_of_other_modules_speak_of_these_flags() -> None:
    assert in_these_words("--learning-rate 0: must be greater") == "--lr 0: must be greater"
    assert in_these_words("x/--out: --img-wh 1 2, --memory-fill") == "x/--exp_name: --img_wh 1 2, --buffer_fill_mode"
