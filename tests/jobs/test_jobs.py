"""Many runs: in turn, in processes and on a Ray cluster, with the same results, whatever happens to who does them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import pytest
import torch
from rich.console import Console

from nerfcl.cli.main import main
from nerfcl.errors import NerfclError
from nerfcl.jobs.job import Tally, Task, Threads, run_all
from nerfcl.jobs.processes import Processes
from nerfcl.training.checkpoints import load_checkpoint

QUICK = ["--img-wh", "16", "16", "--finest", "16", "--rays", "64", "--memory-rays", "99", "--device", "cpu"]
QUICK += ["--evaluate-every", "99", "--evaluate-views", "1"]
OVER_TASKS = [*QUICK, "--steps", "12", "--frame-every", "6"]
STREAM = [*QUICK, "--chunk-frames", "2", "--iters-per-chunk", "4"]
ONE = Threads(1, 1)

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra `cluster` is missing")


# Work


def note(folder: str, needs: str | None, root: Path, shared: str) -> None:
    """Writes down what it finds."""
    before = "" if needs is None else (root / needs / "done").read_text() + ", "
    text = f"{before}{folder} with {shared} on {torch.get_num_threads()}"
    (root / folder / "parts").mkdir(parents=True)
    (root / folder / "parts/first").write_text(folder)
    (root / folder / "done").write_text(text)


def note_where(folder: str, root: Path, shared: str) -> None:
    (root / folder).mkdir()
    (root / folder / "done").write_text(str(os.getpid()))


def die(marker: Path, times: int, root: Path, shared: str) -> None:
    """Ends its process as a lack of memory would, so many times."""
    deaths = len(marker.read_text()) if marker.exists() else 0
    if deaths < times:
        marker.write_text("x" * (deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    note("mortal", None, root, shared)


def refuse(root: Path, shared: str) -> None:
    raise NerfclError("the loss is nan")


def fail(root: Path, shared: str) -> None:
    raise ZeroDivisionError("a bug")


def task(work: Any, folder: str, needs: str | None = None) -> Task:
    return Task(f"run {folder}", Path(folder), "done", work, None if needs is None else Path(needs))


CHAIN = [
    task(partial(note, "a", None), "a"),
    task(partial(note, "b", "a"), "b", "a"),
    task(partial(note, "c", None), "c"),
]


def texts(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def assert_no_children() -> None:
    import multiprocessing

    assert [child for child in multiprocessing.active_children() if child.name == "nerfcl worker"] == []


# Tasks


def test_tasks_are_done_in_turn_but_those_that_are_done(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/done").write_text("a long ago")
    run_all(tmp_path, CHAIN, "all")
    threads = torch.get_num_threads()
    assert texts(tmp_path)["b/done"] == f"a long ago, b with all on {threads}"
    assert texts(tmp_path)["c/done"] == f"c with all on {threads}"
    run_all(tmp_path, [task(fail, "a")], "all")


def test_processes_do_the_same_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(tmp_path, CHAIN, "all", Processes(tmp_path, "all", 2, ONE))
    found = texts(tmp_path)
    assert found["b/done"] == "a with all on 1, b with all on 1"
    assert found.keys() == {f"{name}/{file}" for name in "abc" for file in ("done", "parts/first")}
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["1 of 3", "2 of 3", "3 of 3"]
    assert {line.split(" · ")[1] for line in lines} == {"run a", "run b", "run c"}
    assert_no_children()


def test_a_process_does_several_tasks(tmp_path: Path) -> None:
    tasks = [task(partial(note_where, name), name) for name in "abc"]
    run_all(tmp_path, tasks, "all", Processes(tmp_path, "all", 1, ONE))
    assert len(set(texts(tmp_path).values())) == 1
    assert str(os.getpid()) not in texts(tmp_path).values()


def test_who_dies_is_replaced_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    tasks = [CHAIN[0], task(partial(die, tmp_path / "marker", 1), "mortal")]
    run_all(root, tasks, "all", Processes(root, "all", 1, ONE))
    assert texts(root)["mortal/done"] == "mortal with all on 1"
    said = capfd.readouterr().err
    assert "run mortal: its process was ended from outside (SIGKILL); it is started once more" in said


def test_who_dies_twice_is_named_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tasks = [CHAIN[0], task(partial(die, tmp_path / "marker", 2), "mortal"), CHAIN[1]]
    with pytest.raises(NerfclError, match=r"run mortal: .*SIGKILL.*twice.*same command again.*fewer --jobs"):
        run_all(root, tasks, "all", Processes(root, "all", 1, ONE))
    assert "a/done" in texts(root)
    assert_no_children()
    run_all(root, tasks, "all", Processes(root, "all", 1, ONE))
    assert {"a/done", "b/done", "mortal/done"} <= texts(root).keys()


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (refuse, NerfclError, r"run x: the loss is nan"),
        (fail, RuntimeError, r"run x:\n(.*\n)+ZeroDivisionError: a bug"),
    ],
)
def test_what_goes_wrong_in_a_process_goes_wrong_here(
    work: Any, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        run_all(tmp_path, [task(work, "x")], "all", Processes(tmp_path, "all", 1, ONE))
    assert_no_children()


def test_cores_are_divided_unless_the_environment_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr("numba.get_num_threads", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert Threads.shared_by(1) == Threads(8, 16)
    assert Threads.shared_by(3) == Threads(2, 5)
    assert Threads.shared_by(100) == Threads(1, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert Threads.shared_by(4) == Threads(8, 4)
    assert Threads.shared_by(4).cores == 8


def test_a_terminal_has_a_bar_below_the_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Tally(4, 1, console) as tally:
        tally.count("replay [1] · seed 0", 65.0)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "2 of 4 · replay [1] · seed 0 · took 1 min 05 s" in shown
    assert "2/4" in shown


# Comparisons


def compare(scene: Path, out: Path, *more: str, kind: str = "compare") -> list[str]:
    options = OVER_TASKS if kind == "compare" else STREAM
    return [kind, "--data", str(scene), *options, *more, "--out", str(out)]


ROWS = ["--strategies", "finetune", "replay", "watching=replay:memory-fill=highest"]


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory, shared_scene: Path) -> Path:
    out = tmp_path_factory.mktemp("jobs") / "in-turn"
    assert main(compare(shared_scene, out, *ROWS)) == 0
    return out


def without_time(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run.items() if key != "seconds"}


def assert_same_comparison(one: Path, two: Path) -> None:
    """All runs end with the same figures and the same weights."""
    a, b = (json.loads((out / "comparison.json").read_text()) for out in (one, two))
    assert list(map(without_time, a["runs"])) == list(map(without_time, b["runs"]))
    checkpoints = sorted(path.relative_to(one) for path in one.rglob("*.pt"))
    assert checkpoints == sorted(path.relative_to(two) for path in two.rglob("*.pt"))
    for name in checkpoints:
        first, second = load_checkpoint(one / name).model, load_checkpoint(two / name).model
        weights = {key: value for key, value in first.items() if isinstance(value, torch.Tensor)}
        assert weights
        assert all(torch.equal(value, second[key]) for key, value in weights.items()), name


def files_in(out: Path) -> set[str]:
    return {
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and "tfevents" not in path.name
    }


@pytest.fixture
def as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run has as many as this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(numba.get_num_threads()))


@pytest.mark.usefixtures("as_many_threads")
def test_processes_compare_as_this_one_does(
    in_turn: Path, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "two"
    assert main(compare(shared_scene, out, *ROWS, "--jobs", "2")) == 0
    said = capsys.readouterr().err
    assert "4 of 4" in said
    assert "step" not in said, "no run shows its steps"
    assert_same_comparison(in_turn, out)
    assert files_in(out) == files_in(in_turn)
    # Who does the runs decides nothing: a comparison goes on with any of them.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    assert main(compare(shared_scene, out, *ROWS)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}


@pytest.mark.usefixtures("as_many_threads")
def test_processes_learn_streams_as_this_one_does(shared_scene: Path, tmp_path: Path) -> None:
    rows = ["--strategies", "replay", "joint"]
    assert main(compare(shared_scene, tmp_path / "one", *rows, kind="compare-online")) == 0
    assert main(compare(shared_scene, tmp_path / "two", *rows, "--jobs", "2", kind="compare-online")) == 0
    assert_same_comparison(tmp_path / "one", tmp_path / "two")
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


def test_rows_that_watch_every_step_need_no_first_task(shared_scene: Path, tmp_path: Path) -> None:
    assert main(compare(shared_scene, tmp_path / "out", *ROWS[:1], ROWS[-1])) == 0
    assert not (tmp_path / "out/seed-0/first-task").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_a_command_that_is_stopped_and_it_goes_on(
    number: signal.Signals, shared_scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = compare(shared_scene, out, "--strategies", "finetune", "replay", "--steps", "60", "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "nerfcl.cli.main", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_for(lambda: (out / "seed-0/replay/checkpoints/task-1.pt").exists() or process.poll() is not None)
        workers = children_of(process.pid)
        assert len(workers) == 2
        os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()  # as a terminal does, or a shell
        said = process.communicate(timeout=60.0)[1]
        wait_for(lambda: not any(map(is_running, workers)))
    finally:
        process.kill()
    assert not (out / "comparison.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in said
        assert not [path for path in out.rglob("*") if path.name.startswith(".")], "nothing is half written"
    assert main([*command[:-4], "--jobs", "1", *command[-2:]]) == 0
    assert json.loads((out / "comparison.json").read_text())["runs"][1]["total_steps"] == 120


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240.0
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Processes that do the runs of a command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            command = (process / "cmdline").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid and "spawn_main" in command:
            found.append(int(process.name))
    return found


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_do_the_runs_is_refused_before_anything_is_written(
    shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert "--jobs 0: must be at least 1" in refused(compare(shared_scene, out, "--jobs", "0"), capsys)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'nerfcl[cluster]'" in refused(compare(shared_scene, out, "--ray", "local"), capsys)
    assert not out.exists()


# Ray


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_refused(
    address: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(compare(shared_scene, tmp_path / "out", "--ray", address), capsys)
    assert f"--ray {address}: nobody answers there" in line
    assert not (tmp_path / "out").exists()


def run_by_itself(*arguments: str) -> str:
    """Runs Python in a process of its own, since Ray leaves files open in the one that it was used in; its stderr."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300.0, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@needs_ray
@pytest.mark.usefixtures("as_many_threads")
def test_ray_compares_as_this_process_does(in_turn: Path, shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "ray"
    said = run_by_itself("-m", "nerfcl.cli.main", *compare(shared_scene, out, *ROWS, "--ray", "local"))
    assert [line.split(" · ")[0] for line in said.splitlines()] == [f"{i} of 4" for i in range(1, 5)]
    assert_same_comparison(in_turn, out)
    assert files_in(out) == files_in(in_turn)


MORTALS = """
import os, signal, sys
from functools import partial
from pathlib import Path
from nerfcl.jobs.ray_cluster import Cluster
from nerfcl.errors import NerfclError
from nerfcl.jobs.job import Task, Threads, run_all

def die_once(marker, root, shared):
    if not marker.exists():
        marker.write_text("dead")
        os.kill(os.getpid(), signal.SIGKILL)
    (root / "mortal" / "done").write_text((root / "mortal" / "kept").read_text() + shared)

def inherit(root, shared):
    (root / "heir").mkdir()
    (root / "heir" / "done").write_text((root / "mortal" / "done").read_text() + ", inherited")

def refuse(root, shared):
    raise NerfclError("the loss is nan")

root = Path(sys.argv[1])
tasks = [
    Task("mortal", Path("mortal"), "done", partial(die_once, root / "marker")),
    Task("heir", Path("heir"), "done", inherit, Path("mortal")),
    Task("bad", Path("bad"), "done", refuse, Path("heir")),
]
try:
    run_all(root, tasks, ", done", Cluster(root, ", done", "local", 1, Threads(1, 1)))
except NerfclError as error:
    print(error, file=sys.stderr)
"""


@needs_ray
def test_a_task_whose_ray_worker_dies_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "mortal").mkdir()
    (tmp_path / "mortal/kept").write_text("from before")
    said = run_by_itself("-c", MORTALS, str(tmp_path))
    assert said.splitlines()[-1] == "bad: the loss is nan"
    found = texts(tmp_path)
    assert found["marker"] == "dead"
    assert found["mortal/done"] == "from before, done"
    assert found["heir/done"] == "from before, done, inherited"
