"""Results of a run, computed from its history."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError
from nerfcl.files import read_json
from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.streams.stream import Stream
from nerfcl.training.history import History
from nerfcl.training.settings import TrainingSettings


def results_of(history: History, stream: Stream, label: str, seed: int, training: TrainingSettings) -> dict[str, Any]:
    """Collect the results of a finished run for `results.json`.

    Args:
        history: history of the run.
        stream: the stream that was learned.
        label: label of the strategy.
        seed: seed of the run.
        training: training settings of the run.
    """
    length, unit = training.length
    return {
        "strategy": label,
        "tasks": stream.names,
        "seed": seed,
        unit: length,
        "total_steps": history.steps,
        "seconds": {
            "training": history.training,
            "evaluation": history.evaluation,
            "compilation": history.compilation,
        },
        "R": [[None if math.isnan(value) else value for value in row] for row in history.R],
        "tested": history.tested,
        "psnr": statistics.fmean(value for values in history.psnr[-1] for value in values),
        "average": average(history.R),
        "backward_transfer": backward_transfer(history.R, history.tested),
        "forgetting": forgetting(history.R, history.tested),
        "memory_bytes": history.memory_bytes,
        "views": [
            {
                "task": group.name,
                "name": name,
                "psnr": [row[j][v] for row in history.psnr],
                "ssim": [row[j][v] for row in history.ssim if row[j]],
            }
            for j, group in enumerate(stream.groups)
            for v, name in enumerate(group.test.names)
        ],
    }


def read_results(path: Path) -> dict[str, Any]:
    """Read a run's `results.json`, including files of version 0.1.

    Raises:
        NerfclError: the file is missing, damaged or incomplete.
    """
    try:
        results = read_json(path)
        if "scored" in results:
            results["tested"] = results.pop("scored")
        _check(results)
    except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        raise NerfclError(f"{path}: is not a run's results; remove it and run the same command again") from None
    except NerfclError as error:
        raise NerfclError(f"{error}; remove it and run the same command again") from None
    return results


def _check(results: dict[str, Any]) -> None:
    """Raise a KeyError, TypeError or ValueError unless results have the parts that reports read."""
    tasks, tested, R = results["tasks"], results["tested"], results["R"]
    kinds = {"strategy": str, "seed": int, "total_steps": int, "seconds": dict, "memory_bytes": int, "views": list}
    if not all(isinstance(results[name], kind) for name, kind in kinds.items()) or not len(tested) == len(R) >= 1:
        raise ValueError
    for row in R:
        if len(row) != len(tasks) or not all(value is None or _is_number(value) for value in row):
            raise ValueError
    for name in ("psnr", "average", "backward_transfer", "forgetting"):
        if results[name] is not None and not _is_number(results[name]):
            raise ValueError
    if not all(_is_number(results["seconds"][name]) for name in ("training", "evaluation", "compilation")):
        raise ValueError
    for view in results["views"]:
        if len(view["psnr"]) != len(tested) or len(view["ssim"]) > len(tested):
            raise ValueError
        if view["task"] not in tasks or not all(_is_number(value) for value in (*view["psnr"], *view["ssim"])):
            raise ValueError


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
