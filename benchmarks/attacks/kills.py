"""SIGKILL at random points of commands that are restarted each time; they must end as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nerfcl.models.compilation import compile_kernels

from .folders import SMALL, differences, start, write_scene, write_watched

TENTHS = 10


@dataclass(frozen=True)
class Killed:
    """A command that was killed again and again.

    Attributes:
        name: name of the command.
        seconds: how long it takes when nobody kills it.
        kills: number of kills, by tenth of that time at which they came, counted from each start.
        rounds: number of folders, each brought to its end.
        different: files that differ from those of the undisturbed command.
    """

    name: str
    seconds: float
    kills: Counter[int]
    rounds: int
    different: list[str]


def commands(scene: Path, watched: Path) -> dict[str, list[str]]:
    """Return the commands that are killed, which take a few seconds each."""
    data = ["--data", str(scene), *SMALL]
    tasks = [*data, "--tasks", "sectors:3", "--steps", "300", "--rays", "128", "--evaluate-every", "100"]
    compared = [*data, "--steps", "150", "--rays", "128", "--strategies", "finetune", "replay:memory-rays=99"]
    frames = ["--chunk-frames", "1", "--steps", "120", "--rays", "128", "--memory-rays", "99"]
    camera = ["--img-wh", "16", "16", "--device", "cpu", "--max-resolution", "16", "--box", "0", "0", "0", "2.9"]
    return {
        "run": ["run", *tasks, "--memory-rays", "99", "--frame-every", "100"],
        "compare": ["compare", *compared, "--frame-every", "75"],
        "online": ["online", *data, *frames, "--memory-fill", "reservoir"],
        "online --watch": ["online", "--watch", str(watched), *camera, *frames],
    }


def measure_kills(folder: Path, kills: int, seed: int, names: Sequence[str] | None = None) -> list[Killed]:
    """Kill each command until it was killed its share of times.

    Args:
        folder: folder to work in; what it held is removed.
        kills: number of kills of all commands together.
        seed: seed of the points in time.
        names: commands to kill; None is all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    compile_kernels()
    everything = commands(write_scene(folder / "scene"), write_watched(folder / "watched", 12))
    chosen = {name: everything[name] for name in names or everything}
    share = -(-kills // len(chosen))
    return [_kill(name, command, folder / name.replace(" ", ""), share, seed) for name, command in chosen.items()]


def _kill(name: str, command: list[str], folder: Path, kills: int, seed: int) -> Killed:
    whole = folder / "whole"
    began = time.perf_counter()
    _run_to_end(command, whole)
    seconds = time.perf_counter() - began
    counts: Counter[int] = Counter()
    different: list[str] = []

    def one_round(number: int) -> None:
        """Kill and restart until the command comes to its end."""
        chance, out = random.Random(f"{seed} {name} {number}"), folder / f"round-{number}"
        while sum(counts.values()) < kills:
            wait = chance.uniform(0.0, seconds)
            process = start([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=wait)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                counts[int(TENTHS * wait / seconds)] += 1
        try:
            _run_to_end(command, out)
            different.extend(f"{out.name}/{file}" for file in differences(whole, out))
        except AssertionError as error:
            different.append(str(error))
        shutil.rmtree(out)

    rounds = 0
    with ThreadPoolExecutor(2) as pool:
        while sum(counts.values()) < kills:
            list(pool.map(one_round, range(rounds, rounds + 2)))
            rounds += 2
    return Killed(name, seconds, counts, rounds, different)


def _run_to_end(command: list[str], out: Path) -> None:
    process = start([*command, "--out", str(out)])
    printed = process.communicate()[1]
    if process.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {process.returncode}\n{printed}")
