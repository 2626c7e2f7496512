"""Findings of a comparison as sentences, with labels escaped and in bold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from nerfcl.reports.comparison.summary import ComparisonSummary, Dip, OldView, Summary
from nerfcl.reports.text import decibels, human_bytes, signed

MOST_NAMES = 6  # labels in a sentence
MUCH = 1.0  # dB; smaller drops of a view are not counted


def best_sentence(compared: ComparisonSummary) -> Markup:
    """State the best configuration, its bytes, and its distance to the bounds."""
    best = max(compared.contenders, key=lambda row: row.mean_final.mean)
    text = Markup("<b>{}</b> is best: {} dB{}, with {} kept of the past").format(
        best.label,
        decibels(best.mean_final.mean),
        ", mean over all tasks" if compared.has_past else "",
        human_bytes(best.kept.mean),
    )
    if compared.upper is not None and best is not compared.upper:
        away = best.gap(compared.upper).mean
        side = "above" if away > 0.0 else "below"
        text += Markup(", {} dB {} <b>{}</b>").format(decibels(abs(away)), side, compared.upper.label)
    lower = compared.lower
    if lower is not None and lower is not best:
        text += Markup("; <b>{}</b> reaches {} dB").format(lower.label, decibels(lower.mean_final.mean))
    return text + "."


def front_sentence(compared: ComparisonSummary) -> Markup:
    """State which configurations are on the Pareto front."""
    front = compared.front
    names = Markup(", ").join(Markup("<b>{}</b>").format(row.label) for row in front[:MOST_NAMES])
    more = f" and {len(front) - MOST_NAMES} more" if len(front) > MOST_NAMES else ""
    return Markup("On the Pareto front of bytes and PSNR: {}{} ({} of {} configurations).").format(
        names, more, len(front), len(compared.contenders)
    )


def forgetting_sentence(compared: ComparisonSummary) -> Markup:
    """State which configurations forget least and most."""

    def change(row: Summary) -> float:
        return row.backward_transfer.mean

    least, most = max(compared.contenders, key=change), min(compared.contenders, key=change)
    text = Markup("<b>{}</b> forgets least: backward transfer {} dB").format(least.label, signed(change(least)))
    if most is not least:
        text += Markup("; <b>{}</b> forgets most: {} dB").format(most.label, signed(change(most)))
    return text + "."


def dip_sentence(compared: ComparisonSummary, dips: Mapping[str, Dip]) -> Markup:
    """State with which configurations the first task drops most and least after a switch.

    Args:
        compared: the comparison.
        dips: deepest drop of each configuration that has one, by label.
    """
    if not dips:
        return Markup("{} was not evaluated while later tasks were learned.").format(compared.tasks[0])
    deepest = max(dips, key=lambda label: dips[label].depth)
    least = min(dips, key=lambda label: dips[label].depth)
    if dips[deepest].depth == 0.0:
        return Markup("{} never drops after a switch.").format(compared.tasks[0])
    text = Markup("After a switch, {} drops by up to {} dB with <b>{}</b>").format(
        compared.tasks[0], decibels(dips[deepest].depth), deepest
    )
    if least == deepest:
        return text + "."
    if dips[least].depth == 0.0:
        return text + Markup("; with <b>{}</b> it never drops.").format(least)
    return text + Markup(", and by only {} dB with <b>{}</b>.").format(decibels(dips[least].depth), least)


def views_sentence(compared: ComparisonSummary, views: Mapping[str, Sequence[OldView]]) -> Markup:
    """State how many old views got much worse with the worst and the best configuration.

    Args:
        compared: the comparison.
        views: old views of each configuration, by label.
    """

    def lost(row: Summary) -> int:
        return sum(view.change < -MUCH for view in views[row.label])

    rows = compared.contenders
    fewest, most = min(rows, key=lost), max(rows, key=lost)
    count = len(views[rows[0].label])
    text = Markup("Of {} old views, {} lose more than {:g} dB with <b>{}</b>").format(
        count, lost(most), MUCH, most.label
    )
    if lost(fewest) < lost(most):
        text += Markup(", {} with <b>{}</b>").format(lost(fewest), fewest.label)
    return text + "."
