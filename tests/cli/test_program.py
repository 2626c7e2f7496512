"""How commands end that something ends: one line, the exit code of the signal, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.attacks.failures import drop_privileges
from benchmarks.attacks.folders import start

from cli.quick import TASKS
from support.folders import temporary_files
from support.waiting import wait_until

LONG = ["--steps", "4000", "--frame-every", "0"]


def run(scene: Path, out: Path, *more: str) -> list[str]:
    return ["run", "--data", str(scene), *TASKS, "--out", str(out), *more]


def default_signals() -> None:
    """Undo what a shell does for programs in its background."""
    for kind in (signal.SIGINT, signal.SIGHUP):
        signal.signal(kind, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "its terminal was closed")],
)
def test_a_signal_says_how_to_go_on(kind: signal.Signals, words: str, shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(run(shared_scene, out, *LONG), preexec_fn=default_signals)
    wait_until(lambda: (out / "config.json").exists() or process.poll() is not None)
    process.send_signal(kind)
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 128 + kind
    last = printed.splitlines()[-1]
    assert last.startswith("nerfcl: ")
    assert words in last
    assert "run the same command again to resume" in last
    assert "Traceback" not in printed
    assert not temporary_files(out)


def test_a_signal_that_is_ignored_stays_so(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(run(shared_scene, out), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(lambda: (out / "config.json").exists() or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60.0)
    assert process.returncode == 0, "as nohup wants it"


def test_a_reader_that_leaves_does_not_end_the_training(shared_scene: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(run(shared_scene, tmp_path / "out"), stdout=write)
    os.close(write)
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 0
    assert "Traceback" not in printed
    assert "Broken" not in printed
    assert (tmp_path / "out/results.json").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["--version"]])
def test_help_into_a_closed_pipe_is_silent(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(arguments, stdout=write)
    os.close(write)
    assert process.communicate(timeout=60.0)[1] == ""


def test_a_full_device_is_said_after_the_work(shared_scene: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(run(shared_scene, tmp_path / "out"), stdout=full)
        printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 2
    assert printed.splitlines()[-1] == (
        "nerfcl: the work is done, but standard output cannot be written (No space left on device)"
    )
    assert (tmp_path / "out/results.json").exists()


def remove(out: Path) -> None:
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out.rmdir()


def test_a_folder_that_is_removed_ends_the_run_and_is_not_made_again(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(run(shared_scene, out, "--steps", "400", "--tasks", "sectors:3", "--frame-every", "0"))
    wait_until(lambda: (out / "checkpoints/task-1.pt").exists() or process.poll() is not None)
    os.rename(out, tmp_path / "moved")
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 2
    assert "Traceback" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith(f"nerfcl: {out}")
    assert "was removed while it was written to" in last or "cannot be written (No such file or directory)" in last
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize("mode", [0o555, 0o444, 0o000])
def test_a_folder_that_may_not_be_written_or_entered_is_refused(mode: int, shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=mode)
    process = start(run(shared_scene, out), preexec_fn=drop_privileges)
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 2
    assert printed.splitlines()[-1].startswith(f"nerfcl: --out {out}: cannot be used (")
    assert "Permission denied" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert not any(out.iterdir())


def test_without_a_place_for_compiled_kernels_it_works_and_says_so(shared_scene: Path, tmp_path: Path) -> None:
    program = "; ".join(
        [
            "import sys, numba.core.caching as caching",
            "caching.CacheImpl._locator_classes = []",
            "from nerfcl.cli.main import main",
            "sys.exit(main(sys.argv[1:]))",
        ]
    )
    command = [sys.executable, "-c", program, *run(shared_scene, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no folder to keep compiled kernels in can be written") == 1


@pytest.mark.parametrize("place", ["--out", "--data", "--strategy"])
def test_bytes_that_are_no_text_are_refused_in_one_line(place: str, shared_scene: Path, tmp_path: Path) -> None:
    command = [*run(shared_scene, tmp_path / "out"), place]
    process = start([*command, os.fsdecode(b"a\xff")])
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 2
    assert printed == "nerfcl: 'a\\udcff': is not valid Unicode (UTF-8); use another name\n"


def test_an_interrupt_while_workers_start_is_one_line(shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["compare", "--data", str(shared_scene), *TASKS, "--strategies", "finetune", "replay", "--jobs", "2"]
    process = start([*command, "--out", str(out)], preexec_fn=default_signals, start_new_session=True)

    def workers_start() -> bool:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return process.poll() is not None or (children.exists() and bool(children.read_text().split()))

    wait_until(workers_start)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60.0)[1]
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("nerfcl: interrupted; ")
