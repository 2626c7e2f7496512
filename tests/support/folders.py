"""What commands leave in folders, and how two of them are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.experiment import Experiment
from nerfcl.experiments.folders import claimed_folder
from nerfcl.locks import LOCK
from nerfcl.training.checkpoints import load_checkpoint
from support.learning import plain_history, same

TIMED = ("seconds", "frames_per_second")


def files_in(folder: Path) -> set[str]:
    """All files, but TensorBoard's and the lock, relative to the folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name and path.name != LOCK)
    return {path.relative_to(folder).as_posix() for path in files}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def results_in(folder: Path) -> dict[str, Any]:
    """What a run left in results.json."""
    return read_json(folder / "results.json")


def without_time(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a run, but those that depend on the clock."""
    return {key: value for key, value in values.items() if key not in TIMED}


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Two checkpoints hold the same learner, to the bit, and the same history but for the seconds."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    for name in ("model", "ema", "optimiser", "strategy_state", "sampler", "generator", "done", "at", "epochs"):
        assert same(getattr(a, name), getattr(b, name)), name
    assert plain_history(a.history) == plain_history(b.history)


def assert_same_run(one: Path, other: Path) -> None:
    """Two folders hold the same files, results and checkpoints, but for the seconds that they took."""
    assert files_in(one) == files_in(other)
    for name in sorted(files_in(one)):
        if name.endswith("results.json"):
            assert without_time(read_json(one / name)) == without_time(read_json(other / name)), name
        if name.endswith(".pt"):
            assert_same_checkpoint(one / name, other / name)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """(step, value) of a curve that TensorBoard shows of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def describe_in(folder: Path, description: Experiment | Comparison, label: str | None = None) -> None:
    """Create an output folder with its config.json, as if a run had just begun."""
    with claimed_folder(folder, description, None, label=label):
        pass


def temporary_files(folder: Path) -> list[Path]:
    """Files that should have been renamed or removed when they were complete."""
    return [path for path in folder.rglob(".*") if path.name != LOCK]
