"""Jobs that any process can run, and command lines of small comparisons, which consist of jobs."""

from __future__ import annotations

import os
import signal
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcl.errors import Argument, NerfclError
from nerfcl.jobs.job import Job

ONE = 1

QUICK = ["--img-wh", "16", "16", "--max-resolution", "16", "--rays", "64", "--memory-rays", "99", "--device", "cpu"]
QUICK += ["--evaluate-every", "99", "--evaluate-views", "1"]
OPTIONS = {
    "compare": [*QUICK, "--steps", "12", "--frame-every", "6"],
    "compare-online": [*QUICK, "--chunk-frames", "2", "--steps", "4"],
}
OPTIONS["run"] = OPTIONS["compare"]
DURING_TRAINING = "replay:memory-fill=highest"  # cannot begin with what another strategy learned first
STRATEGIES = ["--strategies", "finetune", "replay", f"during={DURING_TRAINING}"]

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra `cluster` is missing")


def command(kind: str, scene: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a command of nerfcl on a scene."""
    return [kind, "--data", str(scene), *OPTIONS[kind], *more, "--out", str(out)]


def note(folder: str, needs: str | None, root: Path, shared: str) -> None:
    """Write down what it finds."""
    before = "" if needs is None else (root / needs / "done").read_text() + ", "
    text = f"{before}{folder} with {shared} on {torch.get_num_threads()}"
    (root / folder / "parts").mkdir(parents=True)
    (root / folder / "parts/first").write_text(folder)
    (root / folder / "done").write_text(text)


def note_process(folder: str, root: Path, shared: str) -> None:
    (root / folder).mkdir()
    (root / folder / "done").write_text(str(os.getpid()))


def die(marker: Path, times: int, root: Path, shared: str) -> None:
    """End its process as a lack of memory would, so many times."""
    deaths = len(marker.read_text()) if marker.exists() else 0
    if deaths < times:
        marker.write_text("x" * (deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    note("mortal", None, root, shared)


def refuse(root: Path, shared: str) -> None:
    raise NerfclError("the loss is nan; lower ", Argument("learning_rate"))


def fail(root: Path, shared: str) -> None:
    raise ZeroDivisionError("a bug")


def job(work: Any, folder: str, needs: str | None = None) -> Job:
    return Job(f"run {folder}", Path(folder), "done", work, None if needs is None else Path(needs))


CHAIN = [
    job(partial(note, "a", None), "a"),
    job(partial(note, "b", "a"), "b", "a"),
    job(partial(note, "c", None), "c"),
]


def texts(root: Path) -> dict[str, str]:
    """What all files below a folder say."""
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}
