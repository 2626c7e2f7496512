"""Several strategies with several seeds in one folder: each run in a folder of its own, and one table of all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from nerfcl.cli.options import Common, Compare, CompareOnline, Comparison, Online, Run, Streaming
from nerfcl.experiments.folders import CONFIG, claim_folder
from nerfcl.experiments.plans import plan_rows, settled
from nerfcl.experiments.runs import (
    Setup,
    about,
    checkpoint_in,
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
from nerfcl.experiments.stream_runs import (
    has_all_at_once,
    set_up_streams,
    stream_history_in,
    train_stream,
    write_frames,
)
from nerfcl.files import as_file_name, write_json
from nerfcl.jobs.job import Crew, Task, Threads, run_all
from nerfcl.jobs.processes import Processes
from nerfcl.jobs.ray_cluster import Cluster
from nerfcl.models.kernels import compile_kernels
from nerfcl.reports.against_bytes import bytes_figure
from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.comparison import comparison_curves_figure, comparison_figure
from nerfcl.reports.html import html_report
from nerfcl.reports.machine import machine
from nerfcl.reports.results import comparison_row, stream_row
from nerfcl.reports.streams import MOST_STRATEGIES, seen_curve_figure
from nerfcl.reports.tables import comparison_table, print_table, stream_table
from nerfcl.strategies import STRATEGIES, strategy_class
from nerfcl.strategies.strategy import Strategy
from nerfcl.training.looks import picture_positions, watched_view
from nerfcl.training.loop import check

_FIRST_TASK = "first-task"  # the folder of what all rows over tasks share
_LAST = "results.json"  # what a run writes when it is over
_EXTENSIBLE = ("strategies", "seeds", "budget_bytes")  # what is finished stays, each run being claimed by itself
_BOUNDS: dict[str, Literal["lower", "upper"]] = {"finetune": "lower", "joint": "upper"}


def compare(config: Compare) -> list[dict[str, Any]]:
    """Trains several strategies with several seeds, the first task once a seed.

    Returns:
        What each run's `results.json` holds.
    """
    config = settled(config)
    setup = set_up(config)
    families = plan_rows(config, [setup.stream] * len(config.strategies), taken=[_FIRST_TASK])
    rows_of = {label: text for family in families for label, text in family.items()}
    strategies = {label: make_strategy(text, config) for label, text in rows_of.items()}
    for strategy in strategies.values():
        check(setup.stream, strategy, setup.training)
        tell_of_large_memory(strategy, setup.stream)
    setup = replace(setup, shown=_in_turn(config))
    crew = _crew(config, config.out, setup, setup.device)
    claim_folder(config.out, settings_of(config), about(config), _EXTENSIBLE)
    run_all(config.out, _tasks(config, rows_of, strategies), setup, crew)

    results = {label: _results(config.out, label, config.seeds) for label in rows_of}
    rows = [comparison_row(label, results[label]) for label in strategies]
    everything = [result for label in strategies for result in results[label]]
    write_json(config.out / "comparison.json", {"tasks": setup.tasks, "rows": rows, "runs": _without_views(everything)})
    title = f"{setup.title}: {', '.join(setup.tasks)}" if len(setup.tasks) <= 4 else setup.title
    comparison_figure(config.out / "comparison.png", rows, setup.tasks, title)
    _compare_histories(config, setup, {label: strategies[label] for label in _largest(families)}, title)
    found = _found(config, setup, rows_of, results, title)
    html_report(config.out / "report.html", found)
    sized = bytes_figure(
        config.out / "bytes.png", found, [[row for row in found.rows if row.label in family] for family in families]
    )
    print_table(comparison_table(rows, setup.tasks))
    print(f"all on one page: {config.out}/report.html")
    print(f"pictures: {config.out}/comparison.png,{' bytes.png,' * sized} curves.png, forgetting.gif")
    shown = config.out / f"seed-{config.seeds[0]}"
    print(f"of each run: {shown}/STRATEGY/views.png, curves.png, matrix.png, forgetting.gif")
    return everything


def compare_online(config: CompareOnline) -> list[dict[str, Any]]:
    """Learns one stream with several strategies and several seeds.

    Returns:
        What each run's `results.json` holds.
    """
    config = settled(config, [name for name in STRATEGIES if not strategy_class(name).needs_boundaries])
    given = [(make_strategy(text, config), setup) for text, setup in _streams_of(config)]
    for strategy, setup in given:
        check(setup.stream, strategy, setup.training)
    families = plan_rows(config, [setup.stream for _, setup in given])
    rows_of = {label: text for family in families for label, text in family.items()}
    setups = {label: setup for family, (_, setup) in zip(families, given, strict=True) for label in family}
    crew = _crew(config, config.out, setups, given[0][1].device)
    claim_folder(config.out, settings_of(config), about(config), _EXTENSIBLE)
    run_all(config.out, _stream_tasks(config, rows_of), setups, crew)

    results = {label: _results(config.out, label, config.seeds) for label in rows_of}
    joint = next((label for label, text in rows_of.items() if has_all_at_once(text)), None)
    rows = [
        stream_row(label, results[label], setups[label].frames, results[joint] if joint not in (None, label) else None)
        for label in rows_of
    ]
    everything = [result for label in rows_of for result in results[label]]
    write_json(config.out / "comparison.json", {"rows": rows, "runs": _without_views(everything)})
    print_table(stream_table(rows, joint))
    _compare_streams(config, {label: rows_of[label] for label in _largest(families)}, setups)
    print(f"of each run: {config.out}/seed-{config.seeds[0]}/STRATEGY/chunks.png, frames.png, evolution.png")
    return everything


def _streams_of(config: CompareOnline) -> list[tuple[str, Setup]]:
    """Each row that was given, and what its runs share."""
    for text in config.strategies:
        make_strategy(text, config)  # refuses early
    setups = set_up_streams(config, config.strategies)
    return [
        (text, replace(setup, shown=_in_turn(config))) for text, setup in zip(config.strategies, setups, strict=True)
    ]


def _largest(families: Sequence[dict[str, str]]) -> list[str]:
    """Of each row that was given the label with the largest budget: pictures have room for one."""
    return [list(family)[-1] for family in families if family]


def _in_turn(config: Comparison) -> bool:
    """Whether this process does all runs itself."""
    return config.ray is None and config.jobs in (None, 1)


def _crew(config: Comparison, out: Path, shared: Any, device: torch.device) -> Crew | None:
    """Who does the runs; None is this process."""
    if _in_turn(config):
        return None
    jobs = config.jobs or os.cpu_count() or 1
    threads = Threads.shared_by(jobs)
    if config.ray is None:
        return Processes(out, shared, jobs, threads)
    return Cluster(out, shared, config.ray, jobs, threads, gpus=int(device.type == "cuda"))


def _tasks(config: Compare, rows_of: dict[str, str], strategies: dict[str, Strategy]) -> list[Task]:
    """All runs, in folders that are claimed; those that may share the first task come after it."""
    tasks = []
    for seed in config.seeds:
        runs = {label: _one_run(config, label, text, seed) for label, text in rows_of.items()}
        sharing = [label for label in runs if not strategies[label].watches_steps]
        first = _folder(seed, _FIRST_TASK)
        if sharing:
            work = partial(_learn_first, runs[sharing[0]], first)
            tasks.append(Task(f"first task · seed {seed}", first, str(checkpoint_in(Path(), 1)), work))
        for label, run in runs.items():
            folder, needs = _folder(seed, label), first if label in sharing else None
            claim_folder(config.out / folder, settings_of(run), about(run))
            work = partial(_learn_row, run, folder, needs)
            tasks.append(Task(f"{label} · seed {seed}", folder, _LAST, work, needs))
    return tasks


def _learn_first(run: Run, folder: Path, root: Path, setup: Setup) -> None:
    train_first(root / folder, run, setup, _compilation())


def _learn_row(run: Run, folder: Path, first: Path | None, root: Path, setup: Setup) -> None:
    checkpoint = None if first is None else checkpoint_in(root / first, 1)
    train_into(root / folder, run, make_strategy(run.strategy, run), setup, _compilation(), checkpoint)


def _stream_tasks(config: CompareOnline, rows_of: dict[str, str]) -> list[Task]:
    """All runs, in folders that are claimed."""
    tasks = []
    for seed in config.seeds:
        for label, text in rows_of.items():
            run, folder = _one_stream(config, label, text, seed), _folder(seed, label)
            claim_folder(config.out / folder, settings_of(run), about(run))
            tasks.append(Task(f"{label} · seed {seed}", folder, _LAST, partial(_learn_stream, run, label, folder)))
    return tasks


def _learn_stream(run: Online, label: str, folder: Path, root: Path, setups: dict[str, Setup]) -> None:
    train_stream(root / folder, run, make_strategy(run.strategy, run), setups[label], _compilation())


@cache
def _compilation() -> float:
    """Seconds that it took this process to compile the kernels."""
    return compile_kernels()


def _folder(seed: int, label: str) -> Path:
    return Path(f"seed-{seed}") / as_file_name(label)


def _results(out: Path, label: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What each seed's run of a row wrote down."""
    return [json.loads((out / _folder(seed, label) / _LAST).read_text(encoding="utf-8")) for seed in seeds]


def _one_run(config: Compare, label: str, strategy: str, seed: int) -> Run:
    """The run that would do by itself what a comparison does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Common)}
    return Run(**common, strategy=strategy, seed=seed, out=config.out / _folder(seed, label))


def _one_stream(config: CompareOnline, label: str, strategy: str, seed: int) -> Online:
    """The run that would do by itself what a comparison of streams does for one strategy and seed."""
    common = {f.name: getattr(config, f.name) for f in fields(Streaming)}
    return Online(**common, strategy=strategy, seed=seed, out=config.out / _folder(seed, label))


def _without_views(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in result.items() if key != "views"} for result in results]


def _compare_histories(config: Compare, setup: Setup, strategies: dict[str, Strategy], title: str) -> None:
    """Draws how the first seed's runs went, side by side."""
    histories = {label: history_in(config.out / _folder(config.seeds[0], label), setup) for label in strategies}
    write_gif(config.out / "forgetting.gif", histories, setup)
    curves = {name: history.curve for name, history in histories.items()}
    restarting = [name for name, strategy in strategies.items() if strategy.from_scratch]
    length, unit = setup.length
    comparison_curves_figure(
        config.out / "curves.png", curves, setup.tasks, length, title, unit=unit, from_scratch=restarting
    )


def _found(
    config: Compare, setup: Setup, rows_of: dict[str, str], results: dict[str, list[dict[str, Any]]], title: str
) -> Compared:
    """All that there is to report."""
    rows = []
    for label, text in rows_of.items():
        history = history_in(config.out / _folder(config.seeds[0], label), setup)
        row, strategy = parse_row(text), make_strategy(text, config)
        # Of many rows with large frames all histories would not fit into memory.
        small = replace(history, frames=[])
        rows.append(ComparedRow(label, results[label], small, _BOUNDS.get(row.name), strategy.from_scratch))
    watched = watched_view(setup.stream)[0]
    test = setup.stream[watched].test
    length, unit = setup.length
    return Compared(
        title=title,
        tasks=setup.tasks,
        rows=rows,
        length=length,
        unit=unit,
        watched=watched,
        truths={view: test.images[view].numpy() for view in picture_positions(test)},
        config=json.loads((config.out / CONFIG).read_text(encoding="utf-8")),
        machine=f"a Ray cluster, {config.ray}" if config.ray else machine(setup.device, config.jobs or 1),
    )


def _compare_streams(config: CompareOnline, rows_of: dict[str, str], setups: dict[str, Setup]) -> None:
    """Draws how the first seed's runs went, side by side."""
    histories = {label: stream_history_in(config.out / _folder(config.seeds[0], label)) for label in rows_of}
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
