"""What a comparison compares: strategies with hyperparameters of their own, under labels."""

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
    """A strategy with its hyperparameters, under a label.

    Attributes:
        label: for tables and folders.
        strategy: what is run.
        family: label that configurations of one strategy at several budgets share; None stands alone.
        sized: whether its memory has a size of its own, which budgets leave as it is.

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
        """Its label as the name of a folder."""
        return as_file_name(self.label)

    def to_plain(self) -> dict[str, Any]:
        """Convert to values that JSON holds."""
        return to_plain(self)

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """Convert what `to_plain` returned, perhaps edited."""
        return from_plain(cls, value)


@dataclass(frozen=True)
class ConfigurationText:
    """A configuration as it is written: "NAME", "NAME:option=value,option" or "LABEL=NAME:...".

    Attributes:
        label: for tables and folders.
        name: of the strategy.
        options: that it sets, as written.
    """

    label: str
    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a configuration.

        Raises:
            NerfclError: there is no such strategy.

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
        """Make the strategy, its hyperparameters set from the text, the others from options of the same names.

        Args:
            options: that hold where the text says nothing; those that do not apply are left out.

        Returns:
            The configuration, and the names of the options that do not apply to it.

        Raises:
            NerfclError: the text sets an option that the strategy does not have, or a value that it cannot have.
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
    """Refuse labels that name one folder twice, or a folder that is not theirs.

    Args:
        configurations: of one comparison.
        taken: names of other folders beside theirs.

    Raises:
        NerfclError: names the label.
    """
    seen: set[str] = set()
    for configuration in configurations:
        name = configuration.file_name
        if name in (*taken, ".", ".."):
            raise NerfclError(f"label '{configuration.label}' names a folder of the comparison's own; choose another")
        if name in seen:
            raise NerfclError(f"label '{configuration.label}' names a folder twice; give each configuration its own")
        seen.add(name)


def parse_budgets(texts: Sequence[str]) -> list[int]:
    """Read budgets in bytes, the smallest first.

    Args:
        texts: "1000", "64K", "4M", "1G", in units of 1024.

    Raises:
        NerfclError: a text is something else, or two are the same.
    """
    budgets = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.upper())
        if match is None or not int(match[1]):
            why = ": must be a number of bytes, or of K, M or G, such as 500K or 4M"
            raise NerfclError(Argument("budget_bytes", text), why)
        budgets.append(int(match[1]) * _UNITS[match[2]])
    if len(set(budgets)) < len(budgets):
        raise NerfclError(Argument("budget_bytes", tuple(texts)), ": two are the same")
    return sorted(budgets)


def budget_name(budget: int) -> str:
    """Write a number of bytes as `parse_budgets` reads it, in the largest unit that leaves it whole."""
    unit = next(unit for unit in reversed(_UNITS) if budget % _UNITS[unit] == 0)
    return f"{budget // _UNITS[unit]}{unit}"
