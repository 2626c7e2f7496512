"""Fitting configurations to byte budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nerfcl.config.configurations import Configuration, budget_name
from nerfcl.strategies.strategy import Strategy
from nerfcl.streams.stream import Stream


def within_budgets(
    configuration: Configuration, budgets: Sequence[int], stream: Stream
) -> tuple[list[Configuration], list[str]]:
    """Make one configuration per budget, up to the first that holds all of the past.

    A configuration without an adjustable memory, or with a memory of fixed size, is returned unchanged.

    Args:
        configuration: configuration to fit.
        budgets: budgets in bytes, in ascending order; none leaves it unchanged.
        stream: stream to learn.

    Returns:
        The configurations, all of which are different runs, and the names of the budgets that are too small.
    """
    memory: Any = getattr(configuration.strategy, "memory", None)
    if not budgets or configuration.sized or not hasattr(memory, "within"):
        return [configuration], []
    reserved = soft_target_bytes(configuration.strategy, stream)
    found: dict[Any, Configuration] = {}
    left_out = []
    for budget in budgets:
        settings = memory.within(budget - reserved, stream)
        if settings is None:
            left_out.append(budget_name(budget))
            continue
        label = f"{configuration.label.replace(':', ' ')} @ {budget_name(budget)}"
        strategy = replace(configuration.strategy, memory=settings)  # pyright: ignore[reportCallIssue]
        found.setdefault(settings, Configuration(label, strategy, family=configuration.label))
    return list(found.values()), left_out


def soft_target_bytes(strategy: Strategy, stream: Stream) -> int:
    """Count the bytes of the largest soft targets that a strategy keeps besides its memory: three per pixel."""
    if not getattr(strategy, "soft_targets", False):
        return 0
    return 3 * max((experience.train.pixels for experience in stream[1:]), default=0)
