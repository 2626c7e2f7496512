"""Several strategies with several seeds in one folder: each run in a folder of its own, and one table of all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from nerfcl.config import Common, Compare, CompareOnline, Comparison, Online, Run, Streaming
from nerfcl.errors import NerfclError
from nerfcl.files import as_file_name, write_json
from nerfcl.folders import claim_folder
from nerfcl.kernels import compile_kernels
from nerfcl.learner import History
from nerfcl.reports.comparison import comparison_curves_figure, comparison_figure
from nerfcl.reports.results import comparison_row, stream_row
from nerfcl.reports.streams import MOST_STRATEGIES, seen_curve_figure
from nerfcl.reports.tables import comparison_table, print_table, stream_table
from nerfcl.runs import (
    Setup,
    about,
    history_in,
    make_strategy,
    parse_row,
    set_up,
    settings_of,
    tell_of_large_memory,
    train_first,
    train_into,
    write_gif,
)
from nerfcl.strategies.strategy import Strategy
from nerfcl.stream_runs import has_all_at_once, set_up_streams, train_stream, write_frames
from nerfcl.training import check

_FIRST_TASK = "first-task"  # the folder of what all rows over tasks share


def compare(config: Compare) -> list[dict[str, Any]]:
    """Trains several strategies with several seeds, the first task once a seed.

    Returns:
        What each run's `results.json` holds.
    """
    rows_of = _labelled_rows(config, taken=[_FIRST_TASK])
    setup = set_up(config)
    strategies = {label: make_strategy(text, config) for label, text in rows_of.items()}
    for strategy in strategies.values():
        check(setup.stream, strategy, setup.training)
        tell_of_large_memory(strategy, setup.stream)
    claim_folder(config.out, settings_of(config), about(config))
    compilation = compile_kernels()

    results: dict[str, list[dict[str, Any]]] = {label: [] for label in rows_of}
    for seed in config.seeds:
        runs = {label: _one_run(config, label, text, seed) for label, text in rows_of.items()}
        first = train_first(_folder(config.out, seed, _FIRST_TASK), next(iter(runs.values())), setup, compilation)
        for label, strategy in strategies.items():
            out = _folder(config.out, seed, label)
            results[label].append(train_into(out, runs[label], strategy, setup, compilation, first))

    rows = [comparison_row(label, results[label]) for label in strategies]
    everything = [result for label in strategies for result in results[label]]
    write_json(config.out / "comparison.json", {"tasks": setup.tasks, "rows": rows, "runs": _without_views(everything)})
    title = f"{setup.title}: {', '.join(setup.tasks)}" if len(setup.tasks) <= 4 else setup.title
    comparison_figure(config.out / "comparison.png", rows, setup.tasks, title)
    _compare_histories(config, setup, strategies, title)
    print_table(comparison_table(rows, setup.tasks))
    print(f"pictures: {config.out}/comparison.png, curves.png, forgetting.gif")
    shown = config.out / f"seed-{config.seeds[0]}"
    print(f"of each run: {shown}/STRATEGY/views.png, curves.png, matrix.png, forgetting.gif")
    return everything


def compare_online(config: CompareOnline) -> list[dict[str, Any]]:
    """Learns one stream with several strategies and several seeds.

    Returns:
        What each run's `results.json` holds.
    """
    rows_of = _labelled_rows(config)
    strategies = {label: make_strategy(text, config) for label, text in rows_of.items()}
    setups = dict(zip(rows_of, set_up_streams(config, list(rows_of.values())), strict=True))
    for label, strategy in strategies.items():
        check(setups[label].stream, strategy, setups[label].training)
    claim_folder(config.out, settings_of(config), about(config))
    compilation = compile_kernels()

    results: dict[str, list[dict[str, Any]]] = {label: [] for label in rows_of}
    shown: dict[str, History] = {}
    for seed in config.seeds:
        for label, text in rows_of.items():
            run = _one_stream(config, label, text, seed)
            folder = _folder(config.out, seed, label)
            result, history = train_stream(folder, run, strategies[label], setups[label], compilation)
            results[label].append(result)
            shown.setdefault(label, history)

    joint = next((label for label, text in rows_of.items() if has_all_at_once(text)), None)
    rows = [
        stream_row(label, results[label], setups[label].frames, results[joint] if joint not in (None, label) else None)
        for label in rows_of
    ]
    everything = [result for label in rows_of for result in results[label]]
    write_json(config.out / "comparison.json", {"rows": rows, "runs": _without_views(everything)})
    print_table(stream_table(rows, joint))
    _compare_streams(config, rows_of, setups, shown)
    print(f"of each run: {config.out}/seed-{config.seeds[0]}/STRATEGY/chunks.png, frames.png, evolution.png")
    return everything


def _labelled_rows(config: Comparison, taken: Collection[str] = ()) -> dict[str, str]:
    """The rows by their labels, which name their folders.

    Args:
        config: has the rows.
        taken: names of other folders beside theirs.

    Raises:
        NerfclError: rows or seeds are missing, the same, or unknown, or a folder could not be theirs.
    """
    rows_of = {parse_row(text).label: text for text in config.strategies}
    for option, values in (("strategies", config.strategies), ("seeds", config.seeds)):
        if not values or len(set(values)) < len(values):
            raise NerfclError(f"--{option} {' '.join(map(str, values))}: name at least one, and none twice")
    if len({as_file_name(label) for label in rows_of}) < len(config.strategies):
        raise NerfclError(f"--strategies {' '.join(config.strategies)}: two rows have the same label")
    for label, text in rows_of.items():
        if as_file_name(label) in (*taken, ".", ".."):
            raise NerfclError(f"--strategies {text}: the label names a folder of the comparison's own; choose another")
    return rows_of


def _folder(out: Path, seed: int, label: str) -> Path:
    return out / f"seed-{seed}" / as_file_name(label)


def _one_run(config: Compare, label: str, strategy: str, seed: int) -> Run:
    """The run that would do by itself what a comparison does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Common)}
    return Run(**common, strategy=strategy, seed=seed, out=_folder(config.out, seed, label))


def _one_stream(config: CompareOnline, label: str, strategy: str, seed: int) -> Online:
    """The run that would do by itself what a comparison of streams does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Streaming)}
    return Online(**common, strategy=strategy, seed=seed, out=_folder(config.out, seed, label))


def _without_views(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in result.items() if key != "views"} for result in results]


def _compare_histories(config: Compare, setup: Setup, strategies: dict[str, Strategy], title: str) -> None:
    """Draws how the first seed's runs went, side by side."""
    histories = {label: history_in(_folder(config.out, config.seeds[0], label), setup) for label in strategies}
    write_gif(config.out / "forgetting.gif", histories, setup)
    curves = {name: history.curve for name, history in histories.items()}
    restarting = [name for name, strategy in strategies.items() if strategy.from_scratch]
    length, unit = setup.length
    comparison_curves_figure(
        config.out / "curves.png", curves, setup.tasks, length, title, unit=unit, from_scratch=restarting
    )


def _compare_streams(
    config: CompareOnline, rows_of: dict[str, str], setups: dict[str, Setup], histories: dict[str, History]
) -> None:
    """Draws how the first seed's runs went, side by side."""
    streams = {label: histories[label] for label, text in rows_of.items() if not has_all_at_once(text)}
    # The streams first: so they have the same colours in all pictures.
    looks = {label: history.seen for label, history in {**streams, **histories}.items()}
    title = next(iter(setups.values())).title
    seen_curve_figure(config.out / "curve.png", looks, title)
    pictures = ["curve.png"]
    if streams:
        first = dict(list(streams.items())[:MOST_STRATEGIES])
        write_frames(config.out, first, setups[next(iter(first))], title)
        pictures += ["frames.png", "frames.gif"]
        if len(first) < len(streams):
            print(f"frames.png and frames.gif show the first {len(first)} strategies: {', '.join(first)}")
    print(f"pictures: {config.out}/{', '.join(pictures)}")
