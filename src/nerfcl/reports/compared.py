"""What a comparison leaves to report: its rows with the results of all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nerfcl.training.learner import History


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """One row of a comparison.

    Attributes:
        label: its name, as the user wrote it.
        results: what each seed's `results.json` holds; all rows have the same seeds in the same order.
        history: of the first seed.
        bound: which bound of the others it is, where it is one.
        from_scratch: whether every task begins with an untrained model.
    """

    label: str
    results: Sequence[Mapping[str, Any]]
    history: History
    bound: Literal["lower", "upper"] | None = None
    from_scratch: bool = False


@dataclass(frozen=True)
class Compared:
    """All that a report tells.

    Attributes:
        title: above it.
        tasks: their names, in order.
        rows: at least one.
        length: how long each task was learned, in `unit`s.
        unit: "steps" or "epochs".
        watched: position of the task whose test views the histories' pictures show.
        truths: those views by their positions, (H, W, 3) uint8.
        config: what `config.json` holds: settings, command, versions.
        machine: what the seconds were measured on.
    """

    title: str
    tasks: Sequence[str]
    rows: Sequence[ComparedRow]
    length: int
    unit: str
    watched: int
    truths: Mapping[int, np.ndarray]
    config: Mapping[str, Any]
    machine: str

    @property
    def joint(self) -> ComparedRow | None:
        """The upper bound, where there is one."""
        return next((row for row in self.rows if row.bound == "upper"), None)

    @property
    def lower(self) -> ComparedRow | None:
        """The lower bound, where there is one."""
        return next((row for row in self.rows if row.bound == "lower"), None)

    @property
    def contenders(self) -> list[ComparedRow]:
        """All rows but upper bounds; where there is nothing else, these."""
        return [row for row in self.rows if row.bound != "upper"] or list(self.rows)

    @property
    def has_past(self) -> bool:
        """Whether any task could be forgotten."""
        return len(self.tasks) > 1
