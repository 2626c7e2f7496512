"""What a machine does to a run: a full disk, a folder that cannot be written or vanishes, output that nobody reads."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folders import differences, start, write_scene
from .kills import commands


@dataclass(frozen=True)
class Failure:
    """What became of a command.

    Attributes:
        what: what was done to it.
        code: its exit code.
        said: the last line on standard error.
        fault: what is wrong with that; empty if nothing is.
    """

    what: str
    code: int
    said: str
    fault: str


def measure_failures(folder: Path) -> list[Failure]:
    """Do to runs what machines do; after each, the same command must go on to the same results."""
    shutil.rmtree(folder, ignore_errors=True)
    command = commands(write_scene(folder / "scene"), folder / "unused")["run"]
    whole = folder / "whole"
    start([*command, "--out", str(whole)]).communicate()
    found = []
    for what, (expected, do) in _FAILURES.items():
        out = folder / what.replace(" ", "-")
        process = do([*command, "--out", str(out)], out)
        printed = process.communicate()[1] or ""
        said = (printed.strip().splitlines() or [""])[-1]
        faults = []
        if process.returncode != expected:
            faults.append(f"exit code {process.returncode}, not {expected}")
        if "Traceback" in printed:
            faults.append("traceback")
        if expected and not said.startswith("nerfcl: "):
            faults.append("says nothing")
        start([*command, "--out", str(out)]).communicate()
        faults += [f"{file} differs afterwards" for file in differences(whole, out)]
        found.append(Failure(what, process.returncode, said.replace(str(folder), "…"), "; ".join(faults)))
    return found


def _when_working(command: list[str], out: Path, then: Callable[[subprocess.Popen[str]], Any]) -> subprocess.Popen[str]:
    """Start a command; do something when its first checkpoint is there."""
    process = start(command)
    while process.poll() is None and not (out / "checkpoints/task-1.pt").exists():
        time.sleep(0.002)
    then(process)
    return process


def _limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _full_disk(command: list[str], out: Path) -> subprocess.Popen[str]:
    return start(command, preexec_fn=_limit_files(20_000))  # config.json fits, a checkpoint does not


def _unwritable(command: list[str], out: Path) -> subprocess.Popen[str]:
    out.mkdir(mode=0o555)
    process = start(command, preexec_fn=drop_privileges)
    process.wait()
    out.chmod(0o755)
    return process


def drop_privileges() -> None:
    """Let permissions hold for root, too."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(24, capability) == 0  # PR_CAPBSET_DROP


def _vanishing(command: list[str], out: Path) -> subprocess.Popen[str]:
    return _when_working(command, out, lambda _: shutil.rmtree(out, ignore_errors=True))


def _signalled(number: int) -> Callable[[list[str], Path], subprocess.Popen[str]]:
    return lambda command, out: _when_working(command, out, lambda process: process.send_signal(number))


def _full_output(command: list[str], out: Path) -> subprocess.Popen[str]:
    with Path("/dev/full").open("w") as full:
        return start(command, stdout=full)


def _closed_output(command: list[str], out: Path) -> subprocess.Popen[str]:
    read, write = os.pipe()
    os.close(read)
    try:
        return start(command, stdout=write)
    finally:
        os.close(write)


_FAILURES: dict[str, tuple[int, Callable[[list[str], Path], subprocess.Popen[str]]]] = {
    "the disk is full": (2, _full_disk),
    "the folder may not be written": (2, _unwritable),
    "the folder is removed midway": (2, _vanishing),
    "SIGINT": (130, _signalled(signal.SIGINT)),
    "SIGTERM": (143, _signalled(signal.SIGTERM)),
    "SIGHUP": (129, _signalled(signal.SIGHUP)),
    "standard output is full": (2, _full_output),
    "standard output is closed": (0, _closed_output),
}
