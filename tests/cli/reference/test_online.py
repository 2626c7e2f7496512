"""train_online.py: a stream of frames, a chunk an epoch; what it keeps, where it goes on, what it draws and says."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from nerfcl.cli.reference import eval_main as evaluate
from nerfcl.cli.reference import online_main as learn
from nerfcl.cli.reference import train_main as train
from nerfcl.cli.reference.options import check_online, online_parser, train_parser
from nerfcl.cli.reference.plots import KINDS, FramePlots
from nerfcl.cli.reference.watching import Board, ChunkKeeper
from nerfcl.metrics.image import psnr
from nerfcl.models.rendering.model import render_image
from nerfcl.scenes import load_scene
from nerfcl.streams.frames import make_trajectory
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint
from nerfcl.training.learner import History, Learner, StepReport

PROJECT = Path(__file__).resolve().parents[1]
STEPS = 8
PLAIN = "--dataset_name blender_online --root_dir tiny --img_wh 16 16 --batch_size 64 --lr 2e-2 --decay_step 1000"
PLAIN += f" --online_cl_mode --num_frames 6 --chunk_size 2 --num_iters_per_chunk {STEPS} --num_epochs 3"
PLAIN += " --exp_seed 42 --monitor val/loss --val_after_n_epochs 1 --device cpu"
REPLAY = f"{PLAIN} --use_replay_buf"


def without(command: str, flag: str) -> str:
    return re.sub(rf" --{flag}( [^-]\S*)?(?= |$)", "", command)


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
    names = ("model", "optimiser", "strategy_state", "done", "at", "epochs")
    figures = ("R", "psnr", "curve", "looks", "steps", "memory_bytes")
    return all(same(getattr(one, name), getattr(other, name)) for name in names) and all(
        same(getattr(one.history, name), getattr(other.history, name)) for name in figures
    )


def memory_of(name: str, epoch: int) -> dict[str, Any]:
    state = checkpoint(name, epoch).strategy_state
    assert state is not None
    return state["memory"]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def rates_of(command: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates of all steps."""
    rates = []
    with monkeypatch.context() as patch:
        patch.setattr(Board, "stepped", lambda _, report: rates.append(report.learning_rate))
        assert learn(command.split()) == 0
    return rates


@pytest.fixture
def here(tmp_path: Path, shared_scene: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny scene, to work in."""
    shutil.copytree(shared_scene, tmp_path / "work/tiny")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_flags_are_those_of_train() -> None:
    mine, theirs = (
        {action.dest: action for action in parser()._actions if action.dest != "help"}
        for parser in (online_parser, train_parser)
    )
    assert mine.keys() == theirs.keys()
    for name, action in mine.items():
        other = theirs[name]
        assert (action.required, action.choices, action.type, action.nargs) == (
            other.required, other.choices, other.type, other.nargs,
        )  # fmt: skip
        assert name == "buffer_size" or action.default == other.default
    assert mine["buffer_size"].default is None


def test_help_is_quick_and_says_what_suits_the_grid_field(tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.argv = ['x', '--help']; sys.path.insert(0, '{PROJECT / 'src'}')\n"
    code += f"try: runpy.run_path(r'{PROJECT / 'train_online.py'}', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for text in ("--lr 2e-2", "--decay_step 1000", "--num_iters_per_chunk", "--resume FRAME", "plots/EXP_NAME"):
        assert text in done.stdout
    assert "--train_view" not in done.stdout


def test_the_reference_projects_command_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in its README, on a smaller scene, for fewer frames and steps."""
    flags = "--dataset_name blender_online --root_dir tiny --N_importance 64 --img_wh 16 16 --noise_std 0"
    flags += " --num_epochs 3 --batch_size 64 --optimizer adam --lr 5e-4 --lr_scheduler steplr --decay_step 2 4 8"
    flags += " --decay_gamma 0.5 --online_cl_mode --num_frames 6 --use_replay_buf --chunk_size 2"
    flags += " --num_iters_per_chunk 4 --exp_seed 42 --monitor val/loss --val_after_n_epochs 50 --exp_name exp_online"
    monkeypatch.setattr(sys, "argv", ["train_online.py", *flags.split()])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROJECT / "train_online.py"), run_name="__main__")
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"^Mean PSNR over 4 test views : \d+\.\d\d$", said, re.MULTILINE)
    assert re.search(r"^Mean PSNR over 6 frames seen : \d+\.\d\d$", said, re.MULTILINE)
    assert "ckpts/exp_online/epoch=3.ckpt" in said
    assert "logs/exp_online" in said
    assert kept("exp_online") == [3]
    assert {path.split("/")[0] for path in files_in(here)} == {"tiny", "ckpts", "logs"}


def test_an_epoch_is_a_chunk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last_half = REPLAY.replace("--decay_step 1000", "--decay_step 1 2 --decay_gamma 0.5")
    rates = rates_of(f"{last_half} --exp_name steps", monkeypatch)
    assert rates == pytest.approx([2e-2] * STEPS + [1e-2] * STEPS + [5e-3] * STEPS)
    cosine = f"{REPLAY} --lr_scheduler cosine --exp_name cosine"
    shares = [0.5 * (1.0 + np.cos(np.pi * chunk / 3)) for chunk in range(3)]
    assert rates_of(cosine, monkeypatch) == pytest.approx(np.repeat(2e-2 * np.array(shares), STEPS).tolist())
    last = checkpoint("steps", 3)
    assert (last.done, last.at, last.epochs, last.history.steps) == (3, 0, 3, 3 * STEPS)
    assert last.optimiser is not None
    assert last.optimiser["count"] == 3 * STEPS  # one optimiser over the whole stream


def test_fewer_epochs_stop_early(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(f"{REPLAY} --num_epochs 2 --exp_name early".split()) == 0
    assert checkpoint("early", 2).done == 2
    said = capsys.readouterr().out
    assert "over 4 frames seen" in said
    assert "over 4 test views" in said


def test_a_last_chunk_may_have_fewer_frames(here: Path) -> None:
    assert learn(f"{REPLAY} --num_frames 5 --exp_name odd".split()) == 0
    assert len(checkpoint("odd", 3).history.seen[-1][1]) == 5


def test_as_many_old_rays_as_new_ones_from_the_second_chunk_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, second in ((f"{REPLAY} --exp_name replay", 128), (f"{PLAIN} --exp_name finetune", 64)):
        rays = []
        with monkeypatch.context() as patch:
            patch.setattr(Board, "stepped", lambda _, report, rays=rays: rays.append(report.rays))
            assert learn(command.split()) == 0
        assert rays == [64] * STEPS + [second] * 2 * STEPS
    assert checkpoint("finetune", 3).strategy_state is None


def test_everything_is_kept_in_the_order_seen(here: Path) -> None:
    assert learn(f"{REPLAY} --exp_name all".split()) == 0
    scene = load_scene("tiny", (16, 16))
    stream = make_trajectory(scene, "nearest", 2, 6)
    for chunks in (1, 2, 3):
        memory = memory_of("all", chunks)
        frames = torch.cat([chunk.train.poses[:, :3] for chunk in stream[:chunks]])
        assert torch.equal(memory["poses"], frames)
        assert len(memory["frames"]) == 2 * chunks * 16 * 16
    assert torch.equal(memory["frames"], torch.arange(6, dtype=torch.int32).repeat_interleave(256))
    assert torch.equal(memory["pixels"], torch.arange(256, dtype=torch.int32).repeat(6))
    colours = torch.cat([chunk.train.images for chunk in stream]).view(-1, 3)
    assert torch.equal(memory["colours"], colours)


def test_stored_losses_are_always_the_latest(here: Path) -> None:
    """Those of replayed rays changed, with the flag that says so as without it."""
    assert learn(f"{REPLAY} --exp_name silent".split()) == 0
    assert learn(f"{REPLAY} --dynamic_buffer_update --exp_name told".split()) == 0
    one, other = memory_of("silent", 3), memory_of("told", 3)
    assert torch.equal(one["losses"], other["losses"])
    before = memory_of("silent", 2)["losses"]
    changed = (one["losses"][: len(before)] != before).sum()
    assert 64 < changed <= 64 * STEPS


@pytest.mark.parametrize("size", [100, 20480])
def test_a_buffer_size_that_is_given_is_kept_to(here: Path, size: int) -> None:
    assert learn(f"{REPLAY} --buffer_size {size} --exp_name b".split()) == 0
    for chunks in (1, 2, 3):
        assert len(memory_of("b", chunks)["frames"]) == min(size, 512 * chunks)


@pytest.mark.parametrize("fill", ["topk", "uniform", "random"])
@pytest.mark.parametrize("draw", ["random", "weighted_random", "topk"])
def test_fills_and_draws_that_are_given_are_used(
    here: Path, fill: str, draw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    import nerfcl.cli.reference.online as online

    whole = online._strategy
    monkeypatch.setattr(online, "_strategy", lambda options: used.append(whole(options)) or used[0])
    options = f"--buffer_size 100 --buffer_fill_mode {fill} --buffer_sample_mode {draw}"
    if draw == "weighted_random":
        options += " --exploration_ratio 0.5 --use_imgcentre_weight"
    assert learn(f"{REPLAY} {options} --exp_name o".split()) == 0
    assert (used[0].memory_fill, used[0].memory_draw) == (fill, draw.removesuffix("_random") if "_" in draw else draw)
    assert (used[0].memory_rays, used[0].update_losses) == (100, True)
    assert used[0].exploration == (0.5 if draw == "weighted_random" else 0.0)
    assert used[0].centre_weight == (0.3 if draw == "weighted_random" else 0.0)


def test_what_is_said_is_of_all_test_views(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(f"{REPLAY} --exp_name said".split()) == 0
    said = capsys.readouterr().out
    saved = checkpoint("said", 3)
    model = saved.model_settings.build(0)
    model.load_state_dict(saved.model)
    scene = load_scene("tiny", (16, 16))
    for views, what in ((scene.test, "4 test views"), (scene.train, "6 frames seen")):
        scores = []
        for i in range(len(views)):
            image = (render_image(model, views.camera(i)).rgb.clamp(0.0, 1.0) * 255.0).round().byte()
            scores.append(psnr(image.numpy(), views.images[i].numpy()))
        assert f"Mean PSNR over {what} : {np.mean(scores):.2f}\n" in said
        if views is scene.test:
            flags = "--root_dir tiny --img_wh 16 16 --ckpt_path ckpts/said/epoch=3.ckpt --save_dir_name s"
            assert evaluate(f"{flags} --split test --test_view NA --device cpu".split()) == 0
            assert f"Mean PSNR : {np.mean(scores):.2f}\n" in capsys.readouterr().out


def test_tensorboard_has_the_references_names(here: Path) -> None:
    assert learn(f"{REPLAY} --num_iters_per_chunk 20 --val_after_n_epochs 2 --exp_name board".split()) == 0
    for tag in ("train/loss", "train/psnr", "lr"):
        assert [step for step, _ in scalars(Path("logs/board"), tag)] == [1, *range(10, 61, 10)]
    assert [step for step, _ in scalars(Path("logs/board"), "train/replay_loss")] == [30, 40, 50, 60]
    history = checkpoint("board", 3).history
    for tag, looks in (("val/loss", [np.mean([10 ** (-v / 10) for v in look[0]]) for look in history.looks]),
                       ("val/psnr", [mean for _, (mean,) in history.curve])):  # fmt: skip
        found = scalars(Path("logs/board"), tag)
        assert [step for step, _ in found] == [40, 60]  # after the second chunk, and after the last one
        assert [value for _, value in found] == pytest.approx(looks)
    assert len(history.looks[0][0]) == 4


def test_the_best_that_were_validated_and_the_last_stay(here: Path) -> None:
    """Chunks 2, 4, ... are validated. What is there already counts."""

    class Stub:
        def __init__(self, done: int, decibels: float) -> None:
            self.done, self.history = done, History()
            if done % 2 == 0:
                self.history.curve.append((float(done), [decibels]))
                self.history.looks.append([[decibels]])

    import nerfcl.cli.reference.watching as watching

    Path("kept").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "save_checkpoint", lambda path, *_: path.touch())
        keeper = ChunkKeeper(Path("kept"), None, {}, 0)  # type: ignore[arg-type]
        stay = []
        for done in range(1, 17):
            keeper.finished(Stub(done, 30.0 - abs(done - 8)))  # type: ignore[arg-type]
            stay.append(sorted(keeper.losses))
            names = sorted(path.name for path in Path("kept").iterdir())
            assert names == sorted(f"epoch={epoch}.ckpt" for epoch in stay[-1])
    assert stay[:4] == [[1], [2], [2, 3], [2, 4]]
    assert stay[10] == [2, 4, 6, 8, 10, 11]
    assert stay[12] == [4, 6, 8, 10, 12, 13]
    assert stay[15] == [4, 6, 8, 10, 12, 16]


class Stop:
    """Stops a run at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, board: Board, report: StepReport) -> None:
        if report.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [3, STEPS, STEPS + 1, 2 * STEPS + 5])
@pytest.mark.parametrize("command", [REPLAY, PLAIN, f"{REPLAY} --buffer_size 300 --val_after_n_epochs 50"])
def test_the_same_command_goes_on_exactly_from_the_last_chunk(
    here: Path, step: int, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn(f"{command} --exp_name whole".split()) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Board, "stepped", lambda board, report: Stop(step)(board, report))
        assert learn(f"{command} --exp_name parts".split()) == 130
    assert "goes on from the last finished chunk" in capsys.readouterr().err
    finished = (step - 1) // STEPS
    assert kept("parts")[-1:] == ([finished] if finished else [])
    assert len(rates_of(f"{command} --exp_name parts", monkeypatch)) == (3 - finished) * STEPS
    assert equal_learners(checkpoint("parts", 3), checkpoint("whole", 3))
    assert kept("parts") == kept("whole")


def test_killed_runs_end_as_if_they_had_not_been(here: Path) -> None:
    assert learn(f"{REPLAY} --exp_name whole".split()) == 0
    code = "import os, signal, sys\nimport nerfcl.cli.reference.watching as watching\n"
    code += "from nerfcl.cli.reference import online_main\n"
    code += "saved = watching.ChunkKeeper.finished\n"
    code += "def finished(keeper, learner):\n    saved(keeper, learner)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "watching.ChunkKeeper.finished = finished\nonline_main(sys.argv[1:])\n"
    for chunk in (1, 2):
        arguments = [sys.executable, "-c", code, *REPLAY.split(), "--exp_name", "killed"]
        done = subprocess.run(arguments, capture_output=True, timeout=120)
        assert done.returncode == -9
        assert kept("killed")[-1] == chunk
    assert learn(f"{REPLAY} --exp_name killed".split()) == 0
    assert equal_learners(checkpoint("killed", 3), checkpoint("whole", 3))


def test_resume_goes_back_to_the_chunk_that_begins_with_that_frame(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learn(f"{REPLAY} --exp_name r".split()) == 0
    first = checkpoint("r", 3)
    assert len(rates_of(f"{REPLAY} --exp_name r", monkeypatch)) == 0  # nothing is left to do
    assert len(rates_of(f"{REPLAY} --exp_name r --resume 2", monkeypatch)) == 2 * STEPS
    assert equal_learners(checkpoint("r", 3), first)
    with monkeypatch.context() as patch:
        patch.setattr(Board, "stepped", lambda board, report: Stop(STEPS + 3)(board, report))
        assert learn(f"{REPLAY} --exp_name r --resume 2".split()) == 130
    assert kept("r") == [1]  # what came later is to come again
    assert len(rates_of(f"{REPLAY} --exp_name r", monkeypatch)) == 2 * STEPS
    assert equal_learners(checkpoint("r", 3), first)


def test_a_finished_run_says_again_what_it_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(f"{REPLAY} --exp_name twice".split()) == 0
    said = capsys.readouterr().out
    assert learn(f"{REPLAY} --exp_name twice".split()) == 0
    assert capsys.readouterr().out == said


def test_plots_after_every_chunk_and_animations(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{REPLAY} --save_plots --exp_name p"
    with monkeypatch.context() as patch:
        patch.setattr(Board, "stepped", lambda board, report: Stop(2 * STEPS + 1)(board, report))
        assert learn(command.split()) == 130
    assert files_in(Path("plots/p")) == {f"plot{kind}_{n}.png" for kind in ("loss", "psnr") for n in (1, 2)}
    Path("plots/p/plotloss_1.png").unlink()  # is drawn again
    assert learn(command.split()) == 0
    pictures = {f"plot{kind}_{n}.png" for kind in ("loss", "psnr") for n in (1, 2, 3)}
    assert files_in(Path("plots/p")) == pictures | {"plotloss.gif", "plotpsnr.gif"}
    assert "plots/p/plotloss.gif" in (said := capsys.readouterr().out)
    assert "plots/p/plotpsnr.gif" in said
    for name in ("plotloss.gif", "plotpsnr.gif"):
        with Image.open(f"plots/p/{name}") as gif:
            assert getattr(gif, "n_frames", 1) == 3
    assert [(over, len(values)) for over, values in checkpoint("p", 3).history.seen] == [(1, 2), (2, 4), (3, 6)]


def test_plots_are_no_reason_to_learn_otherwise(here: Path) -> None:
    assert learn(f"{REPLAY} --exp_name plain".split()) == 0
    assert learn(f"{REPLAY} --save_plots --exp_name drawn".split()) == 0
    assert equal_learners(checkpoint("plain", 3), checkpoint("drawn", 3))


def test_axes_reach_as_far_in_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it shows only later how far they must; infinite PSNR is drawn at the top."""
    looks = [(1, [20.0, float("inf")]), (2, [20.0, 25.0, 43.0, 12.0])]
    reaches: dict[tuple[str, int], float] = {}
    whole = FramePlots._draw

    def draw(plots: FramePlots, kind: Any, over: int, values: Any, ceiling: float) -> None:
        reaches[kind.name, over] = ceiling
        whole(plots, kind, over, values, ceiling)

    monkeypatch.setattr(FramePlots, "_draw", draw)
    plots = FramePlots(tmp_path, 4, 2, 2, "a title")
    for count in (1, 2):
        learner = Finished(History(seen=looks[:count]))
        plots.finished(learner)  # type: ignore[arg-type]
    assert reaches == {("psnr", 1): 40.0, ("psnr", 2): 50.0, ("loss", 1): 0.01, ("loss", 2): 0.1}
    plots.complete(History(seen=looks))
    assert reaches == {("psnr", 1): 50.0, ("psnr", 2): 50.0, ("loss", 1): 0.1, ("loss", 2): 0.1}
    assert [kind.name for kind in KINDS] == ["loss", "psnr"]


class Finished:
    def __init__(self, history: History) -> None:
        self.history = history


def test_bars_are_as_high_as_the_values(tmp_path: Path) -> None:
    """Counted in pixels: of four frames, the first is at a quarter of the axis, the second at half of it."""
    FramePlots(tmp_path, 4, 2, 2, "a title").finished(Finished(History(seen=[(1, [10.0, 20.0])])))  # type: ignore[arg-type]
    pixels = np.asarray(Image.open(tmp_path / "plotpsnr_1.png").convert("RGB")).astype(int)
    dark = (pixels == 0x1A).all(-1)
    columns = dark.sum(0)
    wide = columns[columns > 60]  # letters are lower
    heights = sorted({int(h) for h in wide if (wide == h).sum() > 20})
    assert len(heights) == 2
    assert heights[1] / heights[0] == pytest.approx(2.0, abs=0.06)


def test_the_reference_network_learns_a_stream(here: Path) -> None:
    nerf = "--field nerf --N_samples 4 --N_importance 4 --noise_std 0 --lr 5e-4"
    flags = f"{REPLAY} {nerf} --num_epochs 2 --num_frames 2 --chunk_size 1 --num_iters_per_chunk 2 --exp_name n"
    assert learn(flags.split()) == 0
    assert len(memory_of("n", 2)["frames"]) == 512


def test_pixel_centers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(f"{REPLAY} --pixel_center 0.0 --exp_name corners".split()) == 0
    assert memory_of("corners", 3)["intrinsics"][0, 2] == 8.5


BAD: dict[str, tuple[str, str]] = {
    "not online": (without(REPLAY, "online_cl_mode"), "--online_cl_mode"),
    "mode": (f"{REPLAY} --continual_mode", "--continual_mode"),
    "view": (f"{REPLAY} --train_view right", "--train_view"),
    "distillation": (f"{REPLAY} --distillation", "--distillation"),
    "soft targets": (f"{REPLAY} --use_soft_targets_for_replay", "--use_soft_targets_for_replay"),
    "checkpoint": (f"{REPLAY} --ckpt_path x", "--ckpt_path"),
    "no frames": (without(REPLAY, "num_frames"), "--num_frames: is missing"),
    "no chunks": (without(REPLAY, "chunk_size"), "--chunk_size: is missing"),
    "no steps": (without(REPLAY, "num_iters_per_chunk"), "--num_iters_per_chunk: is missing"),
    "zero frames": (f"{REPLAY} --num_frames 0", "--num_frames 0"),
    "zero chunks": (f"{REPLAY} --chunk_size 0", "--chunk_size 0"),
    "zero steps": (f"{REPLAY} --num_iters_per_chunk 0", "--num_iters_per_chunk 0"),
    "many frames": (f"{REPLAY} --num_frames 8", "--num_frames 8: must lie between 1 and 6"),
    "many epochs": (f"{REPLAY} --num_epochs 4", "give at most --num_epochs 3"),
    "zero epochs": (f"{REPLAY} --num_epochs 0", "--num_epochs"),
    "monitor": (f"{REPLAY} --monitor val/loss_r", "val/loss"),
    "validation": (f"{REPLAY} --val_after_n_epochs 0", "--val_after_n_epochs"),
    "no buffer": (f"{PLAIN} --buffer_size 100", "--use_replay_buf"),
    "no buffer 2": (f"{PLAIN} --dynamic_buffer_update", "--use_replay_buf"),
    "empty buffer": (f"{REPLAY} --buffer_size 0", "--buffer_size"),
    "exploration": (f"{REPLAY} --exploration_ratio 1.5", "between 0 and 1"),
    "exploration 2": (f"{REPLAY} --exploration_ratio 0.5 --buffer_sample_mode random", "weighted_random"),
    "centre": (f"{REPLAY} --imgcentre_ratio 0.5", "--use_imgcentre_weight"),
    "between chunks": (f"{REPLAY} --resume 3", "--chunk_size 2"),
    "behind the end": (f"{REPLAY} --resume 6", "at most 4"),
    "before the start": (f"{REPLAY} --resume -2", "--resume -2"),
    "nothing to resume": (f"{REPLAY} --resume 2", "epoch=1.ckpt"),
    "ranger": (f"{REPLAY} --optimizer ranger", "radam"),
    "gpus": (f"{REPLAY} --num_gpus 2", "--num_gpus"),
    "rate": (f"{REPLAY} --lr 0", "--lr "),
    "batch": (f"{REPLAY} --batch_size 0", "--batch_size"),
    "root": (f"{REPLAY} --root_dir nowhere", "--root_dir"),
    "layout": (f"{REPLAY} --dataset_name llff", "--dataset_name blender"),
    "size": (f"{REPLAY} --img_wh 16", "--img_wh"),
    "center": (f"{REPLAY} --pixel_center 2", "--pixel_center"),
    "name": (f"{REPLAY} --exp_name ../up", "--exp_name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_written(
    here: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, needle = BAD[case]
    before = files_in(here)
    assert learn((flags if "--exp_name" in flags else f"{flags} --exp_name bad").split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_online.py: ")
    assert needle in error
    assert "Traceback" not in error
    assert files_in(here) == before


def test_what_does_not_fit_a_run_that_is_there_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(f"{REPLAY} --val_after_n_epochs 50 --exp_name r".split()) == 0
    before = files_in(here)
    refused: list[tuple[Callable[[Any], int], str, str]] = [
        (learn, f"{REPLAY} --resume 2 --exp_name r", "epoch=1.ckpt is not there"),
        (learn, f"{REPLAY} --num_iters_per_chunk 9 --exp_name r", "num_iters_per_chunk"),
        (train, "--root_dir tiny --img_wh 16 16 --exp_seed 42 --monitor val/loss --val_after_n_epochs 1 --exp_name x "
         "--ckpt_path ckpts/r/epoch=3.ckpt", "was not written by train.py"),
    ]  # fmt: skip
    for program, flags, needle in refused:
        capsys.readouterr()
        assert program(flags.split()) == 2
        assert needle in capsys.readouterr().err
    assert files_in(here) == before


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_scene_without_views_to_score_is_refused(here: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(f"tiny/transforms_{split}.json")
    file.write_text('{"camera_angle_x": 0.7, "frames": []}')
    assert learn(f"{REPLAY} --exp_name bad".split()) == 2
    assert split in capsys.readouterr().err
    assert not Path("ckpts").exists()


def test_check_leaves_the_options_alone() -> None:
    options = online_parser().parse_args(f"{REPLAY} --exp_name x".split())
    before = dict(vars(options))
    check_online(options)
    assert vars(options) == before


def test_a_chunk_counts_as_done_when_all_of_it_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint comes last: a kill before it takes the plots of the chunk along, which are drawn again."""
    drawn: list[int] = []
    whole = ChunkKeeper.finished

    def finished(keeper: ChunkKeeper, learner: Learner) -> None:
        drawn.append(len(files_in(Path("plots/w"))))
        whole(keeper, learner)

    monkeypatch.setattr(ChunkKeeper, "finished", finished)
    assert learn(f"{REPLAY} --save_plots --exp_name w".split()) == 0
    assert drawn == [2, 4, 6]
