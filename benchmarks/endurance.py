"""Attack nerfcl from outside, and measure a long stream. Writes docs/results/endurance.md.

python benchmarks/endurance.py [--parts PART ...] [--kills 200] [--mutations 10000] [--interleavings 1000] [--seed 0]

Each part's outcome is kept in FOLDER, so that parts may be measured one by one; the document holds the latest of each.
Exits with 1 if anything happened that should not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: configures thread pools before torch starts its own
from attacks.failures import measure_failures
from attacks.interleavings import play
from attacks.kills import TENTHS, measure_kills
from attacks.mutations import SLOWEST, Mutated, measure_mutations
from attacks.writers import Rivals, measure_rivals
from machine import processor, versions

from nerfcl.files import write_json, written_aside
from nerfcl.models.compilation import compile_kernels
from nerfcl.online.learner import OnlineLearner
from nerfcl.online.settings import OnlineSettings
from nerfcl.reports.live.progress import track
from nerfcl.scenes import load_scene

SIDE_OF_THE_TRUCK = 2.9  # world units

Part = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--interleavings", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=24, help="of processes on one folder")
    parser.add_argument("--frames", type=int, default=5000, help="of the long stream")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("outputs/endurance"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/results/endurance.md")
    options = parser.parse_args()
    for name in options.parts:
        began = time.perf_counter()
        part = {**PARTS[name][0](options), "on": f"{processor()}; {versions()}"}
        part["minutes"] = (time.perf_counter() - began) / 60.0
        write_json(options.folder / f"{name}.json", part)
        print(f"{name}: {part['minutes']:.1f} minutes, {len(part['faults'])} faults", flush=True)
        for fault in part["faults"][:20]:
            print(f"  {fault}")
    parts = {name: json.loads(path.read_text()) for name in PARTS if (path := options.folder / f"{name}.json").exists()}
    with written_aside(options.out) as aside:
        aside.write_text("\n".join(_document(parts)), encoding="utf-8")
    print(f"written: {options.out}")
    raise SystemExit(any(part["faults"] for part in parts.values()))


# --- measure ---


def _kills(options: argparse.Namespace) -> Part:
    killed = measure_kills(options.folder / "kills", options.kills, options.seed)
    rows = [{**asdict(each), "kills": [each.kills[tenth] for tenth in range(TENTHS)]} for each in killed]
    return {"rows": rows, "faults": [f"{each.name}: {file} differs" for each in killed for file in each.different]}


def _mutations(options: argparse.Namespace) -> Part:
    return _plain(measure_mutations(options.folder / "mutations", options.mutations, options.seed, 2))


def _writers(options: argparse.Namespace) -> Part:
    return _plain(measure_rivals(options.folder / "writers", options.pairs))


def _plain(measured: Mutated | Rivals) -> Part:
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(measured).items()}


def _failures(options: argparse.Namespace) -> Part:
    found = measure_failures(options.folder / "failures")
    return {
        "rows": [asdict(each) for each in found],
        "faults": [f"{each.what}: {each.fault}" for each in found if each.fault],
    }


def _interleavings(options: argparse.Namespace) -> Part:
    games, faults = [], []
    for seed in range(options.seed, options.seed + options.interleavings):
        try:
            games.append(play(seed))
        except AssertionError as error:
            faults.append(str(error))
    names = ("calls", "refused", "accepted")
    return {"games": options.interleavings, **{n: sum(getattr(g, n) for g in games) for n in names}, "faults": faults}


def _stream(options: argparse.Namespace) -> Part:
    """Measure process memory and time per step while frames are pushed one by one."""
    views = load_scene("builtin", (64, 64)).train
    compile_kernels()
    settings = OnlineSettings(steps_per_chunk=4, queue_frames=2)
    learner = OnlineLearner.around((0.0, 0.0, 0.0), SIDE_OF_THE_TRUCK, 64, settings=settings)
    rows, stretch = [], max(options.frames // 20, 2)
    with learner:
        began, steps = time.perf_counter(), 0
        for number in track(range(1, options.frames + 1), "frames"):
            i = number % len(views)
            learner.observe(views.images[i], views.poses[i], views.intrinsics[i])
            if number % stretch == 0:
                observed, now = learner.status(), time.perf_counter()
                seconds = (now - began) / (observed.steps - steps)
                rows.append({"frame": number, "process": _resident(), "step": seconds, "kept": observed.memory_bytes})
                began, steps = now, observed.steps
    growth = rows[-1]["process"] / rows[1]["process"] - 1.0
    faults = [f"process memory grew by {growth:.0%}"] if growth > 0.25 else []
    return {"rows": rows, "growth": growth, "faults": faults}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- tell ---


def _document(parts: dict[str, Part]) -> list[str]:
    lines = [
        "# Attacked from outside",
        "",
        "Reproduced by `python benchmarks/endurance.py`; a short part of each attack, with other seeds, runs in",
        "`make test`. What is promised about files that may be hostile is in [SECURITY.md](../security.md).",
        "",
    ]
    for name, part in parts.items():
        lines += [*PARTS[name][1](part), f"{part['on']}; {part['minutes']:.1f} minutes.", "", *_faults(part)]
    return lines


def _faults(part: Part) -> list[str]:
    faults = part["faults"]
    if not faults:
        return []
    return [f"**{len(faults)} faults**, of which the first:", "", *[f"- {each}" for each in faults[:5]], ""]


def _tell_kills(part: Part) -> list[str]:
    rows = [
        f"| `{row['name']}` | {row['seconds']:.1f} | {sum(row['kills'])} | {', '.join(map(str, row['kills']))} "
        f"| {row['rounds']} | {len(row['different'])} |"
        for row in part["rows"]
    ]
    return [
        "## Killed",
        "",
        f"{sum(sum(row['kills']) for row in part['rows'])} times SIGKILL at a random point, after which the same",
        "command was started again until it came to its end. Compared with a run that nobody disturbed: results",
        "without seconds, every tensor of every checkpoint, every picture.",
        "",
        "| command | undisturbed, s | kills | by tenth of that time since the start | folders | files that differ |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _tell_mutations(part: Part) -> list[str]:
    rows = [f"| {_KINDS[name]} | {count} | {part['refused'].get(name, 0)} |" for name, count in part["used"].items()]
    return [
        "## Mutated files",
        "",
        f"{sum(part['used'].values()):,} files with one fault each (flipped, missing, repeated or other bytes, a",
        "pipe, a folder, a circular link, another file; values of JSON, headers and chunks of images, numbers of",
        "arrays, tensors of checkpoints with checksums that fit), used in this process. A fault would be: a traceback,",
        f"more than one line, a file written outside of the output folder, more than {SLOWEST:.0f} s, more than 1 GB.",
        f"Found: {len(part['faults'])}. The slowest took {part['slowest']:.1f} s, the largest",
        f"{part['memory'] / 2**20:.0f} MB more than was held before.",
        "",
        "| used as | files | refused |",
        "|---|---|---|",
        *rows,
        "",
    ]


_KINDS = {
    "scene": "a scene, resized",
    "images": "images of a scene",
    "watched": "a watched folder",
    "llff": "a scene in LLFF layout",
    "checkpoint": "`eval` of a checkpoint",
    "run": "`run` on its output folder",
    "compare": "`compare` on its output folder",
    "online": "`online` on its output folder",
}


def _tell_writers(part: Part) -> list[str]:
    rows = [f"| {outcome} | {count} |" for outcome, count in part["outcomes"].items()]
    return [
        "## Two writers",
        "",
        f"{part['pairs']} pairs of the same command, started at the same time on one folder; of every other pair, the",
        "first was killed at once. A third start follows. The folder then holds what one undisturbed command leaves.",
        "",
        "| outcome | processes |",
        "|---|---|",
        *rows,
        "",
    ]


def _tell_failures(part: Part) -> list[str]:
    rows = [f"| {row['what']} | {row['code']} | {row['said']} |" for row in part["rows"]]
    return [
        "## Machines that fail",
        "",
        "What `nerfcl run` says when something is done to it; the same command then goes on to the same results.",
        "",
        "| what was done | exit code | last line on standard error |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _tell_interleavings(part: Part) -> list[str]:
    return [
        "## Interleaved calls",
        "",
        f"{part['games']:,} random games of two to four threads, and a strategy's hooks, that call the methods of one",
        f"`OnlineLearner`: {part['calls']:,} calls, {part['refused']:,} of them refused, {part['accepted']:,} frames",
        "accepted. A fault would be: a call that hangs, a refusal that its documentation does not list, a frame that",
        f"was accepted and is not learned. Found: {len(part['faults'])}.",
        "",
    ]


def _tell_stream(part: Part) -> list[str]:
    rows = [
        f"| {row['frame']} | {row['process'] / 2**20:.0f} MB | {1000 * row['step']:.1f} ms "
        f"| {row['kept'] / 1024:.0f} KB |"
        for row in part["rows"]
    ]
    steps = statistics.median(row["step"] for row in part["rows"])
    return [
        "## A long stream",
        "",
        f"{part['rows'][-1]['frame']:,} frames of the built-in scene at 64x64, pushed one by one into an",
        "`OnlineLearner` (20,480 rays kept, chunks of 2 frames, 4 steps per chunk). Process memory from the second row",
        f"to the last: {part['growth']:+.1%}; {1000 * steps:.1f} ms a step in the median.",
        "",
        "| frame | process memory | time per step since the previous row | kept of the past |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


PARTS: dict[str, tuple[Callable[[argparse.Namespace], Part], Callable[[Part], list[str]]]] = {
    "kills": (_kills, _tell_kills),
    "mutations": (_mutations, _tell_mutations),
    "writers": (_writers, _tell_writers),
    "failures": (_failures, _tell_failures),
    "interleavings": (_interleavings, _tell_interleavings),
    "stream": (_stream, _tell_stream),
}


if __name__ == "__main__":
    main()
