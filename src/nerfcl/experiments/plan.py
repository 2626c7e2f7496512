"""Plan of a comparison: its configurations, expanded by budgets, and what their runs share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import Configuration, budget_name, check_labels
from nerfcl.errors import Argument, NerfclError
from nerfcl.experiments.budgets import within_budgets
from nerfcl.experiments.prepare import Prepared, note_spare_capacity, prepare_all
from nerfcl.strategies.strategy import Strategy

FIRST_TASK = "first-task"  # folder of the task that configurations share


@dataclass(frozen=True)
class Planned:
    """A configuration to run.

    Attributes:
        configuration: strategy and label.
        prepared: data that its runs share.
    """

    configuration: Configuration
    prepared: Prepared

    @property
    def label(self) -> str:
        """Label of the configuration."""
        return self.configuration.label

    @property
    def strategy(self) -> Strategy:
        """Strategy of the configuration."""
        return self.configuration.strategy

    def folder(self, seed: int) -> Path:
        """Return the folder of the run with a seed, relative to the comparison's."""
        return Path(f"seed-{seed}") / self.configuration.file_name


def plan(comparison: Comparison) -> list[Planned]:
    """Load the scene once and expand configurations by budgets; reject what cannot work before anything is written.

    Raises:
        NerfclError: a configuration is invalid, or none is left.
    """
    experiment = comparison.experiment
    prepared = prepare_all(experiment, [configuration.strategy for configuration in comparison.configurations])
    planned = []
    for configuration, part in zip(comparison.configurations, prepared, strict=True):
        sized, left_out = within_budgets(configuration, comparison.budgets, part.stream)
        planned += [Planned(each, part) for each in sized]
        for budget in left_out:
            print(f"{configuration.label}: nothing useful fits into {budget}; left out", file=sys.stderr)
    if not planned:
        budgets = Argument("budget_bytes", " ".join(map(budget_name, comparison.budgets)))
        raise NerfclError(budgets, ": is too small for every strategy; give larger budgets")
    check_labels([part.configuration for part in planned], [FIRST_TASK])
    note_spare_capacity((part.strategy for part in planned), planned[0].prepared.stream)
    return planned


def shares_first_task(strategy: Strategy) -> bool:
    """Tell whether a strategy learns the first task like fine-tuning: not if its memory takes rays during training."""
    memory: Any = getattr(strategy, "memory", None)
    policy = getattr(memory, "fill_policy", None)
    return policy is None or not policy.during_training
