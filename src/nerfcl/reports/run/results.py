"""Results of a run, computed from its history."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError
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
        NerfclError: the file is missing or damaged.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NerfclError(f"{path}: cannot be read ({error}); remove it and run the same command again") from None
    if "scored" in results:
        results["tested"] = results.pop("scored")
    return results
