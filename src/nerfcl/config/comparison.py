"""The description of a comparison: one experiment with several strategies and seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from nerfcl.config.configurations import Configuration, check_labels
from nerfcl.config.experiment import Experiment, migrated
from nerfcl.errors import require
from nerfcl.serialisation import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Configurations of one experiment, each run with every seed.

    Attributes:
        experiment: common settings; its strategy and seed are replaced.
        configurations: labelled strategies with their hyperparameters.
        seeds: seeds of all randomness.
        budgets: bytes that may be kept of the past; a configuration with a memory is run once per budget.

    Example:
        >>> from nerfcl.strategies.finetune import FineTune
        >>> from nerfcl.strategies.joint import Joint
        >>> bounds = (Configuration("lower", FineTune()), Configuration("upper", Joint()))
        >>> comparison = Comparison(configurations=bounds, seeds=(0, 1))
        >>> [experiment.seed for experiment in comparison.experiments(bounds[0])]
        [0, 1]
    """

    experiment: Experiment = field(default_factory=Experiment)
    configurations: tuple[Configuration, ...] = ()
    seeds: tuple[int, ...] = (0,)
    budgets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        once = bool(self.seeds) and len(set(self.seeds)) == len(self.seeds)
        require(once, self, "seeds", "give at least one, and none twice")
        check_labels(self.configurations)

    def experiments(self, configuration: Configuration) -> Iterator[Experiment]:
        """Yield the experiments of a configuration, one per seed."""
        for seed in self.seeds:
            yield replace(self.experiment, strategy=configuration.strategy, seed=seed)

    def to_plain(self) -> dict[str, Any]:
        """Convert to JSON-compatible values."""
        return to_plain(self)

    @staticmethod
    def from_plain(value: Any) -> Comparison:
        """Convert back from `to_plain`; missing values have their defaults.

        Raises:
            NerfclError: a value is invalid; says which and why.
        """
        if isinstance(value, dict) and "experiment" in value:
            value = {**value, "experiment": migrated(value["experiment"])}
        return from_plain(Comparison, value)
