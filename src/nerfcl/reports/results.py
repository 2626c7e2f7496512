"""A run's history -> the figures that are written down and compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.reports.tables import ComparisonRow, StreamRow
from nerfcl.streams.tasks import Stream
from nerfcl.training.learner import History


def results_of(
    history: History, stream: Stream, strategy: str, seed: int, length: int, unit: str = "steps"
) -> dict[str, Any]:
    """What `results.json` holds of one run.

    Args:
        history: of the finished run.
        stream: what was learned.
        strategy: its name.
        seed: of the run.
        length: how long each task was learned, in `unit`s.
        unit: "steps" or "epochs".
    """
    return {
        "strategy": strategy,
        "tasks": [experience.name for experience in stream],
        "seed": seed,
        unit: length,
        "total_steps": history.steps,
        "seconds": {
            "training": history.training,
            "evaluation": history.evaluation,
            "compilation": history.compilation,
        },
        "R": [[None if math.isnan(value) else value for value in row] for row in history.R],
        "scored": history.scored,
        "psnr": statistics.fmean(value for values in history.psnr[-1] for value in values),
        "average": average(history.R),
        "backward_transfer": backward_transfer(history.R, history.scored),
        "forgetting": forgetting(history.R, history.scored),
        "memory_bytes": history.memory_bytes,
        "views": [
            {
                "task": experience.name,
                "name": name,
                "psnr": [row[j][v] for row in history.psnr],
                "ssim": [row[j][v] for row in history.ssim],
            }
            for j, experience in enumerate(stream)
            for v, name in enumerate(experience.test.names)
        ],
    }


def comparison_row(strategy: str, results: Sequence[dict[str, Any]]) -> ComparisonRow:
    """One strategy's row of a comparison: mean and standard deviation (n - 1) over the results of several seeds."""
    finals = list(zip(*(result["R"][-1] for result in results), strict=True))
    drops = [result["R"][-1][0] - result["R"][0][0] for result in results]
    return ComparisonRow(
        strategy=strategy,
        final=[statistics.fmean(values) for values in finals],
        final_std=[_deviation(values) for values in finals],
        drop=statistics.fmean(drops),
        drop_std=_deviation(drops),
        seconds=statistics.fmean(result["seconds"]["training"] for result in results),
        memory_bytes=statistics.fmean(result["memory_bytes"] for result in results),
    )


def stream_row(
    strategy: str, results: Sequence[dict[str, Any]], frames: int, joint: Sequence[dict[str, Any]] | None = None
) -> StreamRow:
    """One strategy's row of a comparison of streams: mean and standard deviation (n - 1) over several seeds.

    Args:
        strategy: its name.
        results: of each seed.
        frames: of the stream.
        joint: results of the upper bound with the same seeds; None where there is none, or where the row is its own.
    """
    finals = [result["psnr"] for result in results]
    apart = [result["psnr"] - bound["psnr"] for result, bound in zip(results, joint or results, strict=True)]
    # What was scored but once has nothing to be compared with.
    followed = all(len(result["R"]) > 1 for result in results)
    seconds = [result["seconds"]["training"] for result in results]
    return StreamRow(
        strategy=strategy,
        psnr=statistics.fmean(finals),
        psnr_std=_deviation(finals),
        to_joint=statistics.fmean(apart) if joint else None,
        to_joint_std=_deviation(apart) if joint else None,
        forgetting=statistics.fmean(result["forgetting"] for result in results) if followed else None,
        backward_transfer=statistics.fmean(result["backward_transfer"] for result in results) if followed else None,
        frames_per_second=statistics.fmean(frames / each for each in seconds),
        seconds=statistics.fmean(seconds),
        memory_bytes=statistics.fmean(result["memory_bytes"] for result in results),
    )


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
