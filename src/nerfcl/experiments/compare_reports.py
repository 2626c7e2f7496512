"""Reports of a comparison: tables, figures, and for tasks a web page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.streams import FrameStream
from nerfcl.experiments.folders import config_in
from nerfcl.experiments.outputs import FrameOutputs, TaskOutputs, draw_forgetting, draw_seen_frames
from nerfcl.experiments.plan import Planned
from nerfcl.experiments.prepare import Prepared
from nerfcl.experiments.workers import Workers
from nerfcl.files import write_json
from nerfcl.reports.comparison.bytes import bytes_figure
from nerfcl.reports.comparison.figures import comparison_curves_figure, comparison_figure
from nerfcl.reports.comparison.summary import ComparisonSummary, Summary, stream_row, tasks_row, upper_bound
from nerfcl.reports.comparison.table import comparison_table
from nerfcl.reports.html.page import html_report
from nerfcl.reports.stream.figures import MOST_STRATEGIES, seen_curve_figure
from nerfcl.reports.stream.table import stream_table
from nerfcl.reports.terminal import print_table
from nerfcl.training.checkpoints import load_checkpoint
from nerfcl.training.history import History


def _largest(planned: Sequence[Planned]) -> list[Planned]:
    """Choose the configuration with the largest budget of each family, for figures with room for one."""
    last = {part.configuration.family or part.label: part for part in planned}
    return list(last.values())


def _summaries(
    comparison: Comparison,
    planned: Sequence[Planned],
    results: dict[str, list[dict[str, Any]]],
    history_of: Callable[[Planned], History],
) -> list[Summary]:
    """Summarise all configurations, without frames: those of many runs may not fit into memory."""
    return [
        Summary(
            part.label,
            results[part.label],
            replace(history_of(part), frames=[]),
            part.strategy.role,
            part.strategy.from_scratch and not isinstance(comparison.experiment.stream, FrameStream),
        )
        for part in planned
    ]


def report_tasks(
    comparison: Comparison,
    planned: Sequence[Planned],
    results: dict[str, list[dict[str, Any]]],
    out: Path,
    workers: Workers,
) -> None:
    prepared, seed = planned[0].prepared, comparison.seeds[0]
    names = prepared.stream.names
    title = f"{prepared.title}: {', '.join(names)}" if len(names) <= 4 else prepared.title

    def history_of(part: Planned) -> History:
        return load_checkpoint(TaskOutputs.checkpoint(out / part.folder(seed), len(prepared.stream))).history

    summaries = _summaries(comparison, planned, results, history_of)
    runs = [_without_views(result) for part in planned for result in results[part.label]]
    rows = [tasks_row(summary) for summary in summaries]
    write_json(out / "comparison.json", {"tasks": names, "rows": rows, "runs": runs})
    comparison_figure(out / "comparison.png", summaries, names, title)
    _draw_histories(out, {part.label: history_of(part) for part in _largest(planned)}, planned, title)
    found = _comparison_summary(summaries, prepared, title, out, workers)
    html_report(out / "report.html", found)
    families: dict[str, list[Summary]] = {}
    for part, summary in zip(planned, summaries, strict=True):
        families.setdefault(part.configuration.family or part.label, []).append(summary)
    sized = bytes_figure(out / "bytes.png", found, list(families.values()))
    print_table(comparison_table(summaries, names))
    print(f"all results on one page: {out}/report.html")
    print(f"pictures: {out}/comparison.png,{' bytes.png,' * sized} curves.png, forgetting.gif")
    print(f"for each run: {out}/seed-{seed}/STRATEGY/views.png, curves.png, matrix.png, forgetting.gif")


def _draw_histories(out: Path, histories: dict[str, History], planned: Sequence[Planned], title: str) -> None:
    """Draw the first seed's runs side by side."""
    prepared = planned[0].prepared
    draw_forgetting(out / "forgetting.gif", histories, prepared)
    curves = {label: history.curve for label, history in histories.items()}
    restarting = [part.label for part in planned if part.strategy.from_scratch]
    length, unit = prepared.training.length
    comparison_curves_figure(
        out / "curves.png", curves, prepared.stream.names, length, title, unit=unit, from_scratch=restarting
    )


def _comparison_summary(
    summaries: list[Summary], prepared: Prepared, title: str, out: Path, workers: Workers
) -> ComparisonSummary:
    pictured = prepared.stream.pictured
    test = prepared.stream.groups[pictured.group].test
    length, unit = prepared.training.length
    return ComparisonSummary(
        title=title,
        tasks=prepared.stream.names,
        summaries=summaries,
        length=length,
        unit=unit,
        pictured_task=pictured.group,
        truths={view: test.images[view].numpy() for view in pictured.shown},
        config=config_in(out),
        machine=workers.describe(prepared),
    )


def report_streams(
    comparison: Comparison,
    planned: Sequence[Planned],
    results: dict[str, list[dict[str, Any]]],
    out: Path,
    workers: Workers,
) -> None:
    del workers
    seed = comparison.seeds[0]

    def history_of(part: Planned) -> History:
        return load_checkpoint(FrameOutputs.checkpoint(out / part.folder(seed))).history

    summaries = _summaries(comparison, planned, results, history_of)
    bound, frames = upper_bound(summaries), [part.prepared.stream.frames for part in planned]
    rows = [stream_row(summary, count, bound) for summary, count in zip(summaries, frames, strict=True)]
    runs = [_without_views(result) for part in planned for result in results[part.label]]
    write_json(out / "comparison.json", {"rows": rows, "runs": runs})
    print_table(stream_table(summaries, frames))
    shown = {
        part.label: summary.history
        for part, summary in zip(planned, summaries, strict=True)
        if part in _largest(planned)
    }
    streams = [part for part in planned if part.label in shown and part.strategy.role != "upper bound"]
    title = planned[0].prepared.title
    # Streams first, so that they have the same colours in all figures.
    ordered = {part.label: shown[part.label] for part in streams}
    seen_curve_figure(out / "curve.png", {label: h.seen for label, h in {**ordered, **shown}.items()}, title)
    pictures = ["curve.png"]
    if streams:
        first = dict(list(ordered.items())[:MOST_STRATEGIES])
        draw_seen_frames(out, first, streams[0].prepared.stream, title)
        pictures += ["frames.png", "frames.gif"]
        if len(first) < len(streams):
            print(f"frames.png and frames.gif show the first {len(first)} strategies: {', '.join(first)}")
    print(f"pictures: {out}/{', '.join(pictures)}")
    print(f"for each run: {out}/seed-{seed}/STRATEGY/chunks.png, frames.png, evolution.png")


def _without_views(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("views", "experiment")}
