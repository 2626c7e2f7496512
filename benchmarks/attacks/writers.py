"""Two processes on one folder: one works, the other is refused; and a folder is free again once its owner is dead."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .folders import differences, start, write_scene
from .kills import commands


@dataclass
class Rivals:
    """Outcomes of two processes on one folder.

    Attributes:
        pairs: number of pairs.
        outcomes: number of processes by outcome.
        faults: what should not have happened.
    """

    pairs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def measure_rivals(folder: Path, pairs: int) -> Rivals:
    """Start pairs of processes at the same time, each pair on a folder of its own; kill the first of every other pair
    while it works, and start a third."""
    shutil.rmtree(folder, ignore_errors=True)
    rivals, everything = Rivals(), commands(write_scene(folder / "scene"), folder / "unused")
    for number in range(pairs):
        name = ("run", "compare", "online")[number % 3]
        whole, out = folder / name / "whole", folder / name / f"pair-{number}"
        if not whole.exists():
            start([*everything[name], "--out", str(whole)]).communicate()
        command = [*everything[name], "--out", str(out)]
        first, second = start(command), start(command)
        if number % 2:
            first.kill()
        for process in (first, second):
            _end(process, rivals)
        _end(start(command), rivals)
        rivals.pairs += 1
        rivals.faults += [f"{out.name}: {file} differs" for file in differences(whole, out)]
        shutil.rmtree(out)
    return rivals


def _end(process: subprocess.Popen[str], rivals: Rivals) -> None:
    printed = process.communicate()[1]
    last = (printed.strip().splitlines() or [""])[-1]
    if process.returncode == 0:
        rivals.outcomes["done"] += 1
    elif process.returncode == 2 and ": is in use by process " in last:
        rivals.outcomes["refused, the folder is in use"] += 1
    elif process.returncode == -9:
        rivals.outcomes["killed"] += 1
    else:
        rivals.faults.append(f"exit code {process.returncode}: {last}")
