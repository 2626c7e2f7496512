"""Comparisons whose runs processes do: as if one process had done them, and they end with their command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.examples import DURING_TRAINING, STRATEGIES, command
from nerfcl.cli.main import main
from support.folders import (
    assert_same_checkpoint,
    assert_same_run,
    read_json,
    results_in,
    temporary_files,
    without_time,
)
from support.refusals import refused
from support.waiting import wait_until


def assert_same_comparison(one: Path, other: Path) -> None:
    """All runs leave the same files, checkpoints and results, and the comparison the same table."""
    assert_same_run(one, other)
    a, b = (read_json(out / "comparison.json")["runs"] for out in (one, other))
    assert list(map(without_time, a)) == list(map(without_time, b))


@pytest.mark.usefixtures("as_many_threads")
def test_processes_compare_as_this_one_does(
    in_turn: Path, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "two"
    assert main(command("compare", shared_scene, out, *STRATEGIES, "--jobs", "2")) == 0
    printed = capsys.readouterr().err
    assert "4 of 4" in printed
    assert "step" not in printed, "no run shows its steps"
    assert_same_comparison(in_turn, out)
    # Who does the runs decides nothing: a comparison goes on with any of them.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    assert main(command("compare", shared_scene, out, *STRATEGIES)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}


@pytest.mark.usefixtures("as_many_threads")
def test_processes_learn_streams_as_this_one_does(shared_scene: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(command("compare-online", shared_scene, one, "--strategies", "replay", "joint")) == 0
    assert main(command("compare-online", shared_scene, two, "--strategies", "replay", "joint", "--jobs", "2")) == 0
    assert_same_comparison(one, two)


def test_a_memory_that_takes_rays_during_training_is_the_same_in_a_comparison(
    in_turn: Path, shared_scene: Path, tmp_path: Path
) -> None:
    # Its first task cannot be another strategy's: the memory would be empty after it.
    assert main(command("run", shared_scene, tmp_path / "alone", "--strategy", DURING_TRAINING)) == 0
    compared = in_turn / "seed-0/during"
    assert_same_checkpoint(tmp_path / "alone/checkpoints/task-2.pt", compared / "checkpoints/task-2.pt")
    alone = results_in(tmp_path / "alone")
    assert alone["memory_bytes"] == results_in(compared)["memory_bytes"] > 0
    assert alone["R"][0] == results_in(in_turn / "seed-0/finetune")["R"][0], "the first task is learned alike"


def test_strategies_that_take_something_during_training_need_no_first_task(shared_scene: Path, tmp_path: Path) -> None:
    assert main(command("compare", shared_scene, tmp_path / "out", "--strategies", DURING_TRAINING)) == 0
    assert not (tmp_path / "out/seed-0/first-task").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_a_command_that_is_stopped_and_it_goes_on(
    number: signal.Signals, shared_scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more = ["--strategies", "finetune", "replay", "--steps", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nerfcl", *command("compare", shared_scene, out, *more, "--jobs", "2")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where a shell runs the tests with &
    )
    try:
        first = out / "seed-0/replay/checkpoints/task-1.pt"
        wait_until(lambda: first.exists() or process.poll() is not None)
        workers = workers_of(process.pid)
        assert len(workers) == 2
        os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()  # as a terminal does, or a shell
        printed = process.communicate(timeout=60.0)[1]
        wait_until(lambda: not any(map(is_running, workers)))
    finally:
        process.kill()
    assert not (out / "comparison.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in printed
        assert not temporary_files(out)
    assert main(command("compare", shared_scene, out, *more, "--jobs", "1")) == 0
    assert read_json(out / "comparison.json")["runs"][1]["total_steps"] == 120


def workers_of(pid: int) -> list[int]:
    """Processes that do the runs of a command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            spawned = b"spawn_main" in (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid and spawned:
            found.append(int(process.name))
    return found


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_cannot_do_the_runs_is_refused_before_anything_is_written(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    line = refused(main, command("compare", shared_scene, out, "--jobs", "0"), capsys, out=out)
    assert "--jobs 0: must be at least 1" in line
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused(main, command("compare", shared_scene, out, "--ray", "local"), capsys, out=out)
    assert "--ray local: Ray is not installed; run pip install 'nerfcl[cluster]'" in line
