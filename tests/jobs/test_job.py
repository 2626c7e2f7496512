"""Jobs in turn, the threads that they divide, and how many of them are shown to be done."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from jobs.examples import CHAIN, fail, job, texts
from nerfcl.jobs.job import JobProgress, run_jobs, threads_per_job


def test_jobs_are_run_in_turn_but_those_that_are_done(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/done").write_text("a long ago")
    run_jobs(tmp_path, CHAIN, "all")
    threads = torch.get_num_threads()
    assert texts(tmp_path)["b/done"] == f"a long ago, b with all on {threads}"
    assert texts(tmp_path)["c/done"] == f"c with all on {threads}"
    run_jobs(tmp_path, [job(fail, "a")], "all")
    with pytest.raises(ZeroDivisionError):
        run_jobs(tmp_path, [job(fail, "d")], "all")


def test_cores_are_divided_unless_the_environment_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_per_job(1) == 8
    assert threads_per_job(3) == 2
    assert threads_per_job(100) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert threads_per_job(4) == 8


def test_a_terminal_has_a_bar_below_the_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with JobProgress(4, 1, console) as progress:
        progress.count("replay [1] · seed 0", 65.0)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "2 of 4 · replay [1] · seed 0 · took 1 min 05 s" in shown
    assert "2/4" in shown
