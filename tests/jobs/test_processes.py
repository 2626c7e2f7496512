"""Jobs in processes of this machine: the same results as in turn, also where a process dies."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.examples import CHAIN, ONE, die, fail, job, note_process, refuse, texts
from nerfcl.errors import NerfclError
from nerfcl.jobs.job import run_jobs
from nerfcl.jobs.processes import Processes


def assert_no_children() -> None:
    assert [child for child in multiprocessing.active_children() if child.name == "nerfcl worker"] == []


def test_processes_do_the_same_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_jobs(tmp_path, CHAIN, "all", Processes(tmp_path, "all", 2, ONE))
    found = texts(tmp_path)
    assert found["b/done"] == "a with all on 1, b with all on 1"
    assert found.keys() == {f"{name}/{file}" for name in "abc" for file in ("done", "parts/first")}
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["1 of 3", "2 of 3", "3 of 3"]
    assert {line.split(" · ")[1] for line in lines} == {"run a", "run b", "run c"}
    assert_no_children()


def test_a_process_runs_several_jobs(tmp_path: Path) -> None:
    jobs = [job(partial(note_process, name), name) for name in "abc"]
    run_jobs(tmp_path, jobs, "all", Processes(tmp_path, "all", 1, ONE))
    assert len(set(texts(tmp_path).values())) == 1
    assert str(os.getpid()) not in texts(tmp_path).values()


def test_a_process_that_dies_is_replaced_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    jobs = [CHAIN[0], job(partial(die, tmp_path / "marker", 1), "mortal")]
    run_jobs(root, jobs, "all", Processes(root, "all", 1, ONE))
    assert texts(root)["mortal/done"] == "mortal with all on 1"
    printed = capfd.readouterr().err
    assert "run mortal: its process died (SIGKILL); retrying once" in printed


def test_a_job_whose_process_dies_twice_is_named_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "root"
    jobs = [CHAIN[0], job(partial(die, tmp_path / "marker", 2), "mortal"), CHAIN[1]]
    with pytest.raises(NerfclError, match=r"run mortal: .*SIGKILL.*twice.*same command again.*fewer jobs"):
        run_jobs(root, jobs, "all", Processes(root, "all", 1, ONE))
    assert "a/done" in texts(root)
    assert_no_children()
    run_jobs(root, jobs, "all", Processes(root, "all", 1, ONE))
    assert {"a/done", "b/done", "mortal/done"} <= texts(root).keys()


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (refuse, NerfclError, r"run x: the loss is nan; lower learning_rate$"),
        (fail, RuntimeError, r"run x:\n(.*\n)+ZeroDivisionError: a bug"),
    ],
)
def test_what_goes_wrong_in_a_process_goes_wrong_here(
    work: Any, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message) as caught:
        run_jobs(tmp_path, [job(work, "x")], "all", Processes(tmp_path, "all", 1, ONE))
    assert_no_children()
    if isinstance(caught.value, NerfclError):  # a command line can still write its flags into it
        assert caught.value.spelled(lambda argument: f"--{argument.name}").endswith("lower --learning_rate")
