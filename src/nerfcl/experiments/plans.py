"""What a comparison's options mean: which seeds, and which rows within which budgets."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from nerfcl.cli.options import Compare, CompareOnline, Comparison, Training
from nerfcl.errors import NerfclError
from nerfcl.experiments.runs import make_strategy, parse_row
from nerfcl.files import as_file_name
from nerfcl.strategies import STRATEGIES
from nerfcl.streams.tasks import Stream

ALL = "all"
SIZES = {"memory_rays", "memory_bytes"}  # knobs
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

C = TypeVar("C", bound=Comparison)


def settled(config: C, every: Iterable[str] = STRATEGIES) -> C:
    """The same comparison with its rows, seeds and budgets written out.

    Args:
        config: as the user gave it.
        every: the strategies that "all" stands for.

    Raises:
        NerfclError: an option cannot be.
    """
    strategies = tuple(name for text in config.strategies for name in (every if text == ALL else (text,)))
    seeds = config.seeds
    if len(seeds) == 1:
        if seeds[0] < 0:
            raise NerfclError(f"--seeds {seeds[0]}: name how many seeds, or which")
        seeds = tuple(range(max(seeds[0], 1)))
    budgets = tuple(budget_name(budget) for budget in read_budgets(config.budget_bytes))
    if config.jobs is not None and config.jobs < 1:
        raise NerfclError(f"--jobs {config.jobs}: must be at least 1")
    config = replace(config, strategies=strategies, seeds=seeds, budget_bytes=budgets)
    for option, values in (("strategies", strategies), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise NerfclError(f"--{option} {' '.join(map(str, values))}: name at least one, and none twice")
    _check_labels([parse_row(text).label for text in strategies], config, ())
    return config


def plan_rows(
    config: Compare | CompareOnline, streams: Sequence[Stream], taken: Collection[str] = ()
) -> list[dict[str, str]]:
    """What each row that was given becomes: rows by their labels, which name their folders.

    Args:
        config: settled.
        streams: what each row that was given learns.
        taken: names of other folders beside the rows'.

    Raises:
        NerfclError: a row cannot be, or its folder could not be its own; or there are none.
    """
    budgets = read_budgets(config.budget_bytes)
    families = [
        {parse_row(row).label: row for row in rows_within(text, budgets, stream, config)}
        for text, stream in zip(config.strategies, streams, strict=True)
    ]
    _check_labels([label for family in families for label in family], config, taken)
    return families


def _check_labels(labels: Sequence[str], config: Comparison, taken: Collection[str]) -> None:
    names = [as_file_name(label) for label in labels]
    if not names:
        raise NerfclError(f"--budget-bytes {' '.join(config.budget_bytes)}: no strategy can keep so little")
    if len(set(names)) < len(names):
        raise NerfclError(f"--strategies {' '.join(config.strategies)}: two rows have the same label")
    for label, name in zip(labels, names, strict=True):
        if name in (*taken, ".", ".."):
            raise NerfclError(f"--strategies: label '{label}' names a folder of the comparison's own; choose another")


def read_budgets(texts: Sequence[str]) -> list[int]:
    """Budgets in bytes, the smallest first.

    Args:
        texts: "1000", "64K", "4M", "1G", in units of 1024.

    Raises:
        NerfclError: a text is something else, or two are the same.
    """
    budgets = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.upper())
        if match is None or not int(match[1]):
            raise NerfclError(f"--budget-bytes {text}: must be a number of bytes, or of K, M or G, such as 500K or 4M")
        budgets.append(int(match[1]) * UNITS[match[2]])
    if len(set(budgets)) < len(budgets):
        raise NerfclError(f"--budget-bytes {' '.join(texts)}: two are the same")
    return sorted(budgets)


def budget_name(budget: int) -> str:
    """A number of bytes as `read_budgets` reads it, in the largest unit that leaves it whole."""
    unit = next(unit for unit in reversed(UNITS) if budget % UNITS[unit] == 0)
    return f"{budget // UNITS[unit]}{unit}"


def rows_within(text: str, budgets: Sequence[int], stream: Stream, options: Training) -> list[str]:
    """The rows that stand for a row in a comparison, one for each budget, and no two that would be the same run.

    A row whose strategy keeps an amount that no knob decides, or that sets a size itself, stays as it is. What a
    strategy cannot meet is left out, and said.

    Args:
        text: the row, as on the command line.
        budgets: in bytes, the smallest first; none leaves the row as it is.
        stream: what is learned.
        options: those of the command, which hold where the row says nothing.

    Raises:
        NerfclError: the row is none.
    """
    row, strategy = parse_row(text), make_strategy(text, options)
    own, knobs_of = dict(row.knobs), {budget: strategy.within(budget, stream) for budget in budgets}
    if not budgets or SIZES & own.keys() or {} in knobs_of.values():
        return [text]
    rows: dict[tuple[tuple[str, int], ...], str] = {}
    for budget, knobs in knobs_of.items():
        if knobs is None:
            print(f"{row.label}: nothing useful fits into {budget_name(budget)}; left out", file=sys.stderr)
            continue
        settings = ",".join(f"{knob.replace('_', '-')}={value}" for knob, value in {**own, **knobs}.items())
        label = f"{row.label.replace(':', ' ')} @ {budget_name(budget)}"
        rows.setdefault(tuple(knobs.items()), f"{label}={row.name}:{settings}")
    return list(rows.values())
