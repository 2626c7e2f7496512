"""The same command goes on, to the bit, after interruptions and kills; checkpoints and frames to go on from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nerfcl.cli.reference import online_main, train_main
from nerfcl.cli.reference.callbacks import Board, CheckpointKeeper
from nerfcl.training.callbacks import StepReport
from nerfcl.training.learner import Learner
from support.folders import assert_same_checkpoint, scalars
from support.reference import (
    CHUNK,
    EPOCH,
    FINETUNE_STREAM,
    LEFT,
    REPLAY,
    RIGHT,
    STREAM,
    assert_same_learner,
    checkpoint,
    checkpoint_path,
    saved,
    train,
    train_online,
)


def interrupt_after_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CheckpointKeeper.on_evaluation

    def save(keeper: CheckpointKeeper, learner: Learner) -> None:
        whole(keeper, learner)
        if epoch in keeper.losses:
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointKeeper, "on_evaluation", save)


def steps_of(flags: str, monkeypatch: pytest.MonkeyPatch, *, interrupt_at: int | None = None) -> int:
    """The steps that train_online.py does."""
    steps = 0

    def count(board: Board, learner: Learner, report: StepReport) -> None:
        nonlocal steps
        steps += 1
        if report.step == interrupt_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Board, "on_step", count)
        assert online_main(flags.split()) == (0 if interrupt_at is None else 130)
    return steps


@pytest.mark.parametrize("options", [f"{REPLAY} --distillation", "--distillation", ""])
def test_the_same_command_goes_on_exactly_after_an_interruption(
    here: Path, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{LEFT} {options} --num_epochs 12 --exp_name"
    train(f"{command} whole")
    with monkeypatch.context() as patch:
        interrupt_after_epoch(10, patch)
        assert train_main(f"{command} parts".split()) == 130
    assert "the same command resumes" in capsys.readouterr().err
    assert saved("parts") == [9, 10]
    train(f"{command} parts")
    assert saved("parts") == saved("whole")
    assert_same_checkpoint(checkpoint_path("parts", 12), checkpoint_path("whole", 12))
    # File by file: how TensorBoard orders two files of the same second depends on what the process wrote before.
    events = [scalars(file, "val/loss_l") for file in Path("logs/parts").iterdir()]
    assert sorted(step for values in events for step, _ in values) == [epoch * EPOCH for epoch in (9, 10, 11, 12)]
    assert len(events) == 2
    before = checkpoint_path("parts", 12).stat().st_mtime_ns
    train(f"{command} parts")  # nothing is left to do
    assert checkpoint_path("parts", 12).stat().st_mtime_ns == before


def test_a_checkpoint_within_a_task_is_gone_on_with_exactly(here: Path) -> None:
    """Also from the last epoch of a finished run. The schedule must not know where runs end."""
    plain = f"{RIGHT} --lr_scheduler steplr --decay_step 4"
    train(f"{plain} --num_epochs 7 --exp_name whole")
    train(f"{plain} --num_epochs 3 --exp_name begun")
    train(f"{plain} --num_epochs 7 --exp_name on --ckpt_path ckpts/begun/epoch=3.ckpt")
    assert_same_learner(checkpoint("whole", 7), checkpoint("on", 7))


@pytest.mark.parametrize(
    ("learn", "flags", "more"),
    [(train, RIGHT, {"resume": 0, "save_plots": False}), (train_online, STREAM, {})],
    ids=["train.py", "train_online.py"],
)
def test_a_run_of_version_0_1_is_gone_on_with(
    scene_only: Path, learn: Callable[[str], None], flags: str, more: dict[str, object]
) -> None:
    """Its config.json calls the flags settings; train.py's held some that do not decide what is learned."""
    command = f"{flags} --num_epochs 3 --exp_name old"
    learn(command)
    config = Path("ckpts/old/config.json")
    content = json.loads(config.read_text())
    versions = {"nerfcl": "0.1.0", "torch": "2.0"}
    config.write_text(json.dumps({"settings": {**content["flags"], **more}, "versions": versions}))
    expected = checkpoint_path("old", 3).rename("expected.ckpt")
    learn(command)
    assert_same_checkpoint(checkpoint_path("old", 3), expected)
    assert json.loads(config.read_text()) == content


@pytest.mark.parametrize("command", [STREAM, FINETUNE_STREAM, f"{STREAM} --buffer_size 300 --val_after_n_epochs 50"])
def test_the_same_command_goes_on_exactly_from_the_last_chunk(
    scene_only: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_online(f"{command} --exp_name whole")
    for step in (3, CHUNK, CHUNK + 1, 2 * CHUNK + 5):
        finished, parts = (step - 1) // CHUNK, f"parts-{step}"
        steps_of(f"{command} --exp_name {parts}", monkeypatch, interrupt_at=step)
        assert "resumes from the last finished chunk" in capsys.readouterr().err
        assert saved(parts)[-1:] == ([finished] if finished else [])
        assert steps_of(f"{command} --exp_name {parts}", monkeypatch) == (3 - finished) * CHUNK
        assert_same_checkpoint(checkpoint_path(parts, 3), checkpoint_path("whole", 3))
        assert saved(parts) == saved("whole")


def test_a_killed_run_ends_as_if_it_had_not_been(scene_only: Path) -> None:
    train_online(f"{STREAM} --exp_name whole")
    code = """
import os, signal, sys
from nerfcl.cli.reference import callbacks, online_main
whole = callbacks.ChunkKeeper.on_experience_end
def save(keeper, learner):
    whole(keeper, learner)
    os.kill(os.getpid(), signal.SIGKILL)
callbacks.ChunkKeeper.on_experience_end = save
online_main(sys.argv[1:])
"""
    arguments = [sys.executable, "-c", code, *STREAM.split(), "--exp_name", "killed"]
    assert subprocess.run(arguments, capture_output=True, timeout=120).returncode == -9
    assert saved("killed") == [1]
    train_online(f"{STREAM} --exp_name killed")
    assert_same_checkpoint(checkpoint_path("killed", 3), checkpoint_path("whole", 3))


def test_resume_goes_back_to_the_chunk_that_begins_with_that_frame(
    scene_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"{STREAM} --exp_name r"
    train_online(command)
    first = checkpoint_path("r", 3).rename("first.ckpt")
    assert steps_of(command, monkeypatch) == CHUNK
    assert steps_of(command, monkeypatch) == 0  # nothing is left to do
    assert steps_of(f"{command} --resume 2", monkeypatch) == 2 * CHUNK
    assert_same_checkpoint(checkpoint_path("r", 3), first)
    steps_of(f"{command} --resume 2", monkeypatch, interrupt_at=CHUNK + 3)
    assert saved("r") == [1]  # what came later is to come again
    assert steps_of(command, monkeypatch) == 2 * CHUNK
    assert_same_checkpoint(checkpoint_path("r", 3), first)


def test_a_finished_run_reports_again_what_it_reported(scene_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_online(f"{STREAM} --exp_name twice")
    said = capsys.readouterr().out
    train_online(f"{STREAM} --exp_name twice")
    assert capsys.readouterr().out == said
