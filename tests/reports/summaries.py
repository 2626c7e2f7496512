"""Comparisons to report, made up of a few numbers, and how PNGs that reports write are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.reports.comparison.summary import ComparisonSummary, Summary
from nerfcl.strategies.strategy import Role
from nerfcl.training.history import History, Validation
from support.pictures import noise

TWO = ["right", "left"]
TEN = [f"sector {i + 1}/10" for i in range(10)]
CURVE = [(0.5, [25.0, 12.0]), (1.0, [30.0, 13.0]), (1.5, [24.0, 26.0]), (2.0, [22.0, 30.0])]
SIZE = 16

Matrix = Sequence[Sequence[float | None]]


def result(
    R: Matrix, *, seed: int = 0, tasks: Sequence[str] = TWO, kept: float = 0.0, seconds: float = 10.0
) -> dict[str, Any]:
    """One seed's `results.json`; a task has two test views, one dB above and below the mean, or none."""
    known = [[math.nan if value is None else value for value in line] for line in R]
    return {
        "seed": seed,
        "tasks": tasks,
        "R": R,
        "tested": list(range(1, len(R) + 1)),
        "psnr": average(known),
        "average": average(known),
        "backward_transfer": backward_transfer(known),
        "forgetting": forgetting(known),
        "memory_bytes": kept,
        "seconds": {"training": seconds},
        "views": [
            {"task": task, "name": f"r_{v}", "psnr": [line[j] + 1.0 - 2.0 * v for line in known]}
            for j, task in enumerate(tasks)
            for v in range(2 if R[-1][j] is not None else 0)
        ],
    }


def validations(curve: Sequence[tuple[float, Sequence[float | None]]]) -> list[Validation]:
    """Evaluations with these means; where there is none, there is no view."""
    return [Validation(at, [[] if mean is None else [mean] for mean in means]) for at, means in curve]


def summary(
    label: str,
    results: Sequence[Mapping[str, Any]],
    role: Role = "contender",
    curve: Sequence[tuple[float, Sequence[float | None]]] | None = None,
) -> Summary:
    """A configuration with these results; the upper bound begins from scratch."""
    R = results[0]["R"]
    history = History(
        R=R,
        tested=results[0]["tested"],
        psnr=[[[] if value is None else [value + 1.0, value - 1.0] for value in line] for line in R],
        validation=validations(curve or [(0.5, [20.0] * len(R)), (1.0, R[0]), (1.5, R[0]), (float(len(R)), R[-1])]),
        renderings=[{0: noise(SIZE, SIZE, i), 1: noise(SIZE, SIZE, 100 + i)} for i in range(len(R))],
    )
    return Summary(label, results, history, role, from_scratch=role == "upper bound")


def single(label: str, R: Matrix, role: Role = "contender", *, kept: float = 0.0, seconds: float = 10.0) -> Summary:
    """A configuration with one seed and two tasks."""
    return summary(label, [result(R, kept=kept, seconds=seconds)], role)


def comparison(summaries: Sequence[Summary], tasks: Sequence[str] = TWO) -> ComparisonSummary:
    """All that a report of these configurations tells."""
    return ComparisonSummary(
        title="truck at 16x16",
        tasks=tasks,
        summaries=summaries,
        length=100,
        unit="steps",
        pictured_task=0,
        truths={0: noise(SIZE, SIZE, 7), 1: noise(SIZE, SIZE, 8)},
        config={
            "options": {"data": "/home/<me>/scene", "tasks": tasks, "steps": 100},
            "command": "nerfcl compare --data '/home/<me>/scene'",
            "versions": {"nerfcl": "0.1.0"},
        },
        machine="a machine, 2 threads",
    )


def two_summaries() -> list[Summary]:
    """A contender and the upper bound, with two seeds."""
    replay = [
        result([[30.0, 10.0], [26.0, 31.0]], seed=0, kept=1024.0, seconds=20.0),
        result([[32.0, 12.0], [30.0, 33.0]], seed=1, kept=1024.0, seconds=24.0),
    ]
    joint = [
        result([[30.0, 10.0], [30.0, 30.0]], seed=0, kept=2.0**20, seconds=40.0),
        result([[32.0, 12.0], [33.0, 33.0]], seed=1, kept=2.0**20, seconds=40.0),
    ]
    return [summary("replay", replay), summary("joint", joint, "upper bound")]


def many_summaries(count: int, tasks: Sequence[str], seeds: int) -> list[Summary]:
    """The bounds and, between them, strategies at several budgets: of random strength, from 0.0, which forgets 1.4 dB
    with every task, to 1.0, which forgets nothing."""
    kinds = ["replay", "worst first", "replay-images", "replay:memory-fill=topk,memory-draw=weighted"]
    found = []
    for k in range(count):
        label, role, kept = f"{kinds[k % 4]} {2 ** (k // 4)}x", "contender", 4096.0 * 2 ** (k / 2)
        strength = 0.1 + 0.8 * k / count - 0.3 * (k % 3 == 1)
        if k == 0:
            label, role, kept, strength = "finetune", "lower bound", 0.0, 0.0
        elif k == count - 1:
            label, role, kept, strength = "joint", "upper bound", 2.0**22, 1.0
        matrices = [_matrix(len(tasks), strength, np.random.default_rng([k, seed])) for seed in range(seeds)]
        results = [result(R, seed=seed, tasks=tasks, kept=kept, seconds=20.0 + k) for seed, R in enumerate(matrices)]
        found.append(summary(label, results, role, _curve(matrices[0], strength)))
    return found


def _matrix(n: int, strength: float, rng: np.random.Generator) -> list[list[float]]:
    learned = 30.0 - (1.0 - strength) * 1.4 * np.subtract.outer(np.arange(n), np.arange(n))
    return (np.where(np.tri(n), learned, 12.0) + rng.normal(0.0, 0.4, (n, n))).tolist()


def _curve(R: list[list[float]], strength: float) -> list[tuple[float, list[float]]]:
    """Ten evaluations in every task: it is learned slowly, and the others fall at first."""

    def at(x: float, i: int, j: int) -> float:
        if i < j:
            return 12.0
        return R[i][j] - (8.0 * math.exp(-6.0 * x) if i == j else (1.0 - strength) * 4.0 * math.exp(-8.0 * x))

    n = len(R)
    return [(i + k / 10, [at(k / 10, i, j) for j in range(n)]) for i in range(n) for k in range(1, 11)]


def cells_of(table: Any) -> list[list[str]]:
    """The rows of a table for the terminal, its heads first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(line) for line in zip(*columns, strict=True)]


def drawn_in(path: Path) -> np.ndarray:
    """The pixels of a PNG, (H, W, 3) uint8, that has something on a white ground."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all(), "the ground is white up to the edges"
    assert (pixels != 255).any(-1).mean() > 0.01, "something is drawn"
    return pixels


def is_colour(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels have a colour that is given as "#rrggbb"."""
    return (pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1)


STRATEGIES = ["finetune", "replay", "self-replay", "a-strategy-with-quite-a-long-name"]
Log = list[tuple[int, list[float]]]


def log_of(frames: int, chunks: int, loss: float = 8.0) -> Log:
    """An entry after every chunk; a frame loses up to `loss` dB as it gets older."""
    each = frames // chunks
    log = []
    for chunk in range(1, chunks + 1):
        age = (chunk * each - 1 - np.arange(chunk * each)) // each
        values = 28.0 + 3.0 * np.sin(np.arange(chunk * each) / 7.0) - loss * (1.0 - np.exp(-age / 6.0))
        log.append((chunk, values.tolist()))
    return log


def logs_of(count: int, frames: int = 100, chunks: int = 50) -> dict[str, Log]:
    """The logs of as many strategies, of which each forgets more than the one before."""
    return {name: log_of(frames, chunks, 3.0 * i) for i, name in enumerate(STRATEGIES[:count])}


def psnr_of_chunks(chunks: int, views: int, over: int) -> list[list[float]]:
    """PSNR (dB) of every test view, by chunks, when `over` of them are learned."""
    return [
        [(max(9.0, 29.0 - 0.5 * (over - k)) if k < over else 15.0) + math.sin(3.1 * v + k) for v in range(views)]
        for k in range(chunks)
    ]
