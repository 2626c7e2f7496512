"""Configurations of a comparison: labelled strategies with their hyperparameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from nerfcl.config.options import applied, leaves_of
from nerfcl.errors import Argument, NerfclError
from nerfcl.files import as_file_name
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.strategies import STRATEGIES
from nerfcl.strategies.strategy import Strategy

ALL = "all"
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True)
class Configuration:
    """A labelled strategy with its hyperparameters.

    Attributes:
        label: label in tables and folder names.
        strategy: strategy to run.
        family: label shared by configurations of one strategy at several budgets; None if there is only one.
        sized: whether its memory has a fixed size, so that budgets do not apply.

    Example:
        >>> from nerfcl.strategies.finetune import FineTune
        >>> Configuration("nothing kept", FineTune()).file_name
        'nothing-kept'
    """

    label: str
    strategy: Strategy
    family: str | None = None
    sized: bool = False

    @property
    def file_name(self) -> str:
        """The label as a folder name."""
        return as_file_name(self.label)

    def to_plain(self) -> dict[str, Any]:
        """Convert to JSON-compatible values."""
        return to_plain(self)

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """Convert back from `to_plain`."""
        return from_plain(cls, value)


@dataclass(frozen=True)
class ConfigurationText:
    """A configuration in text form: "NAME", "NAME:option=value,option" or "LABEL=NAME:...".

    Attributes:
        label: label in tables and folder names.
        name: name of the strategy.
        options: hyperparameters that it sets, as text.
    """

    label: str
    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a configuration.

        Raises:
            NerfclError: the strategy is unknown.

        Example:
            >>> ConfigurationText.parse("worst=replay:memory-fill=topk,update-losses").options
            {'memory_fill': 'topk', 'update_losses': 'true'}
        """
        head, _, tail = text.partition(":")
        label, _, name = head.rpartition("=")
        if name not in STRATEGIES:
            raise NerfclError(Argument("strategy", name), f": is unknown; choose from {', '.join(STRATEGIES)}")
        options = {}
        for part in filter(None, tail.split(",")):
            option, equals, value = part.partition("=")
            options[option.strip().replace("-", "_")] = value.strip() if equals else "true"
        return cls(label.strip() or text, name, options)

    def build(self, options: Mapping[str, Any]) -> tuple[Configuration, set[str]]:
        """Create the strategy, with hyperparameters from the text and, for those it does not set, from `options`.

        Args:
            options: values by option name; those that do not apply are ignored.

        Returns:
            The configuration, and the names of the options that do not apply to it.

        Raises:
            NerfclError: the text sets an unknown hyperparameter, or a value is invalid.
        """
        strategy, unknown = applied(STRATEGIES[self.name](), {**options, **self.options})
        wrong = unknown & self.options.keys()
        if wrong:
            known = ", ".join(sorted(name.replace("_", "-") for name in leaves_of(strategy))) or "none"
            names = ", ".join(sorted(name.replace("_", "-") for name in wrong))
            raise NerfclError(Argument("strategy", self.name), f": has no hyperparameter {names}; it has {known}")
        sized = bool({"memory_rays", "memory_bytes"} & self.options.keys())
        return Configuration(self.label, strategy, sized=sized), unknown


def check_labels(configurations: Iterable[Configuration], taken: Sequence[str] = ()) -> None:
    """Reject labels that share a folder, or that name a reserved one.

    Args:
        configurations: configurations of one comparison.
        taken: names of reserved folders.

    Raises:
        NerfclError: a label is rejected; names it.
    """
    seen: set[str] = set()
    for configuration in configurations:
        name = configuration.file_name
        if name in (*taken, ".", ".."):
            raise NerfclError(f"label '{configuration.label}' is reserved by the comparison; choose another")
        if name in seen:
            raise NerfclError(f"label '{configuration.label}' gives two configurations the same folder; choose another")
        seen.add(name)


def parse_budgets(texts: Sequence[str]) -> list[int]:
    """Parse budgets; return them as bytes, in ascending order.

    Args:
        texts: for example "1000", "64K", "4M", "1G", in units of 1024.

    Raises:
        NerfclError: a text is malformed, or two budgets are the same.
    """
    budgets = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.upper())
        if match is None or not int(match[1]):
            why = ": must be a number of bytes, optionally in K, M or G, such as 500K or 4M"
            raise NerfclError(Argument("budget_bytes", text), why)
        budgets.append(int(match[1]) * _UNITS[match[2]])
    if len(set(budgets)) < len(budgets):
        raise NerfclError(Argument("budget_bytes", tuple(texts)), ": two are the same; give each once")
    return sorted(budgets)


def budget_name(budget: int) -> str:
    """Format a number of bytes for `parse_budgets`, in the largest unit that divides it."""
    unit = next(unit for unit in reversed(_UNITS) if budget % _UNITS[unit] == 0)
    return f"{budget // _UNITS[unit]}{unit}"
