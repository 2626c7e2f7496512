"""Speed, against an earlier commit, the reference network and the plain twins. Writes benchmarks/results.md.

python benchmarks/speed.py [--parts PART ...] [--against feb4f0b] [--data PATH]

Each part is kept in benchmarks/measured with the commit that it is of, so that parts may be measured one by one; the
document holds the latest of each. Whole trainings run in processes of their own, one tree after the other, so that a
busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: sets how threads wait before torch starts its own
import torch
from machine import commit, lego_or_builtin, processor, versions
from reference_network import ReferenceStep
from speed_pairs import PAIRS, Trees

from nerfcl.files import write_json, written_aside
from nerfcl.memory.fill import TeacherOutput
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.models import kernels
from nerfcl.models.compilation import compile_kernels
from nerfcl.models.fields.field import Field
from nerfcl.models.fields.hash_grid import HashGridField
from nerfcl.models.kernels import compiled, plain
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import model_for
from nerfcl.randomness import seeded
from nerfcl.scenes import Views, load_scene
from nerfcl.scenes.cameras import pixel_rays, stratified_offsets
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream
from nerfcl.training.learner import new_learner
from nerfcl.training.loop import learn
from nerfcl.training.optimisers import Adam
from nerfcl.training.schedules import warm_cosine
from nerfcl.training.settings import TrainingSettings

RESULTS = Path(__file__).parent / "results.md"
MEASURED = Path(__file__).parent / "measured"
PICTURES = {"curves": "../docs/images/speed.png"}
Row = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=[*PAIRS, *PARTS], default=[*PAIRS, *PARTS])
    parser.add_argument("--against", default="feb4f0b", help="commit to compare with")
    parser.add_argument("--data", default=lego_or_builtin())
    options = parser.parse_args()
    data = options.data if options.data == "builtin" else str(Path(options.data).resolve())
    compile_kernels()
    with Trees(options.against) as trees:
        for name in options.parts:
            title, rows = PAIRS[name](trees, data) if name in PAIRS else PARTS[name](data)
            on = f"Commit {commit()} against {options.against}; {processor()}; {versions()}"
            write_json(MEASURED / f"{name}.json", {"title": title, "rows": rows, "on": on})
            print(f"{title}\n" + "\n".join(f"  {what}: {value}" for what, value in rows), flush=True)
    paths = {name: MEASURED / f"{name}.json" for name in (*PAIRS, *PARTS)}
    text = report({name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()})
    with written_aside(RESULTS) as aside:
        aside.write_text(text, encoding="utf-8")
    print(f"written to {RESULTS}")


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def trained(stream: Stream, data: str) -> OccupancyModel:
    """A model after the first task."""
    learner = new_learner(FineTune(), model_for(load_scene(data, (64, 64)), seed=0), 0)
    learn(stream, learner, TrainingSettings(evaluation=None), until=1)
    assert isinstance(learner.model, OccupancyModel)
    return learner.model


def epoch_sampler(stream: Stream, generator: torch.Generator) -> EpochSampler:
    """Draws the first task's pixels."""
    return EpochSampler(stream[0].train.pixels, generator)


def step_rows(data: str) -> tuple[str, list[Row]]:
    """A step of the default field against one of the reference network."""
    stream = make_stream(load_scene(data, (64, 64)), ["right", "left"])
    model = trained(stream, data)
    optimiser, generator = Adam(model.parameters()), seeded(0, "bench")
    sampler = epoch_sampler(stream, generator)
    step = 0

    def ours() -> None:
        nonlocal step
        model.begin_step(generator)
        batch = pixels_at(stream[0].train, sampler.next(1024))
        offsets = stratified_offsets(len(batch), 1, generator)
        rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)
        rendering = model.render(rays, generator)
        (rendering.rgb - batch.colours).square().mean().backward()
        optimiser.step(1e-3 * warm_cosine(step, 100_000, 1.0, 0, 0.1))
        step += 1

    theirs = ReferenceStep()
    ratios, own, other = [], [], []
    for _ in range(5):  # in turns, so that a busy machine slows both
        other.append(median_seconds(theirs, 1))
        own.append(median_seconds(ours, 160))
        ratios.append(other[-1] / own[-1])
    return "Training step, 1024 rays", [
        (
            "reference network (coarse and fine 8x256 MLPs, 64 + 128 samples), median",
            f"{statistics.median(other):.2f} s",
        ),
        (
            "grid field on the trained scene, occupancy updates included, median",
            f"{statistics.median(own) * 1e3:.1f} ms",
        ),
        (
            "**ratio, median of 5 pairs (least to greatest)**",
            f"**{statistics.median(ratios):.0f}** ({min(ratios):.0f} to {max(ratios):.0f})",
        ),
    ]


def floor_rows(data: str) -> tuple[str, list[Row]]:
    """A step in parts, with many rays and with so few that what is left does not depend on them."""
    stream = make_stream(load_scene(data, (64, 64)), ["right", "left"])
    model = trained(stream, data)
    many, few = (step_in_parts(model, stream, rays) for rays in (1024, 8))
    many["**together**"], few["**together**"] = sum(many.values()), sum(few.values())
    rows = [(part, f"{many[part]:.2f} ms, {few[part]:.2f} ms") for part in many]
    return "A step in parts, with 1024 rays and with 8: medians of 300", rows


def step_in_parts(model: OccupancyModel, stream: Stream, count: int) -> dict[str, float]:
    """Milliseconds of each part of a training step with so many rays."""
    optimiser, generator = Adam(model.parameters()), seeded(0, "parts")
    sampler, field, eps = epoch_sampler(stream, generator), model.field, model.sampling.early_stop_eps
    parts = ("pixels", "rays", "samples", "rendering", "loss", "backward pass", "optimiser")
    steps = []
    for _ in range(301):
        marks = [time.perf_counter()]
        batch = pixels_at(stream[0].train, sampler.next(count))
        marks.append(time.perf_counter())
        offsets = stratified_offsets(count, 1, generator)
        rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)
        marks.append(time.perf_counter())
        jitter, layout = torch.rand(count, generator=generator), model.sampling_layout(count)
        samples = kernels.sample(rays.origins, rays.directions, model.occupancy, jitter, layout)
        marks.append(time.perf_counter())
        total = field.integrate(samples, rays.directions, eps)
        marks.append(time.perf_counter())
        loss = (total[:, :3] + (1.0 - total[:, 4:]) - batch.colours).square().mean()
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        optimiser.step(1e-5)
        marks.append(time.perf_counter())
        steps.append([after - before for before, after in pairwise(marks)])
    medians = (statistics.median(taken) * 1e3 for taken in zip(*steps[1:], strict=True))
    return dict(zip(parts, medians, strict=True))


def kernel_rows(data: str) -> tuple[str, list[Row]]:
    """Compiled kernels against their plain twins."""
    stream, generator = make_stream(load_scene(data, (64, 64)), ["right", "left"]), seeded(0, "kernels")
    model = trained(stream, data)
    batch = pixels_at(stream[0].train, epoch_sampler(stream, generator).next(1024))
    rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, stratified_offsets(1024, 1, generator))
    jitter, layout, field = torch.rand(1024, generator=generator), model.sampling_layout(1024), model.field
    samples = kernels.sample(rays.origins, rays.directions, model.occupancy, jitter, layout)
    assert isinstance(field, HashGridField)
    table = field.table.detach().clone().requires_grad_()
    gradient, moments = torch.randn_like(table), plain.new_moments(table)
    integrate: dict[Any, Callable[..., torch.Tensor]] = {
        compiled: field.integrate,
        plain: partial(Field.integrate, field),
    }
    cases: list[tuple[str, Callable[[Any], Any]]] = [
        ("sample", lambda k: k.sample(rays.origins, rays.directions, model.occupancy, jitter, layout)),
        (
            "encode, forward and backward",
            lambda k: k.encode(samples.positions, table, field.levels).sum().backward(),
        ),
        (
            "the field along rays, forward and backward",
            lambda k: integrate[k](samples, rays.directions, 1e-3).sum().backward(),
        ),
        ("adam, every entry touched", lambda k: k.adam(table, gradient, moments, 5, 1e-2, (0.9, 0.99), 1e-15)),
    ]
    rows = []
    for name, call in cases:
        slow = median_seconds(lambda call=call: call(plain), 15)
        fast = median_seconds(lambda call=call: call(compiled), 45)
        rows.append((name, f"{slow / fast:.1f} ({slow * 1e3:.2f} ms / {fast * 1e3:.2f} ms)"))
    return "Kernels against their plain torch twins (time of the twin / time of the kernel)", rows


def draw_rows(data: str) -> tuple[str, list[Row]]:
    """What a draw from memory costs, small and large."""
    del data
    rows = []
    for rays in (20_480, 2_000_000):
        views = _noise_views(-(-rays // 4096))
        for draw in ("random", "weighted"):
            settings = RayMemorySettings(rays=rays, draw=draw, exploration=0.2 if draw == "weighted" else 0.0)
            memory = RayMemory(settings, seeded(0, "bench"))
            losses = torch.rand(len(views) * 4096, generator=seeded(0, "losses")).pow(4)
            memory.fill(views, lambda indices, losses=losses: TeacherOutput(torch.empty(0), losses[indices]))
            seconds = median_seconds(lambda memory=memory: memory.draw(1024), 200)
            rows.append((f"{draw}, {rays:,} rays ({memory.nbytes / 1e6:.1f} MB)", f"{seconds * 1000:.2f} ms"))
    return "Drawing 1024 stored rays, 20 % of them uniformly from the rest, without replacement", rows


def _noise_views(count: int) -> Views:
    images = torch.randint(0, 256, (count, 64, 64, 3), generator=seeded(0, "images"), dtype=torch.uint8)
    return Views(images, torch.eye(4).repeat(count, 1, 1), torch.ones(count, 4), ("",) * count)


def memory_rows(data: str) -> tuple[str, list[Row]]:
    """Peak resident memory of a whole run, by itself in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from machine import run_and_tell_peak; run_and_tell_peak(sys.argv[1:])"
        options = ["run", "--data", data, "--strategy", "replay", "--steps", "200", "--out", f"{folder}/run"]
        command = [sys.executable, "-c", code, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    peak = float(done.stdout.rsplit("peak", 1)[1])
    return "Memory", [("peak of `nerfcl run --strategy replay --steps 200`, everything included", f"{peak:.0f} MB")]


PARTS: dict[str, Callable[[str], tuple[str, list[Row]]]] = {
    "step": step_rows,
    "floor": floor_rows,
    "twins": kernel_rows,
    "draws": draw_rows,
    "memory": memory_rows,
}


def report(parts: dict[str, dict[str, Any]]) -> str:
    """The tables as Markdown, by the name of their part."""
    lines = ["# Speed", "", "Rebuilt by `make bench`. Times are medians on a shared machine: compare within one run."]
    for name, part in parts.items():
        lines += ["", f"## {part['title']}", "", "| what | measured |", "|---|---|"]
        lines += [f"| {what} | {value} |" for what, value in part["rows"]]
        lines += ["", f"{part['on']}."]
        if name in PICTURES:
            lines += ["", f"![{part['title']}]({PICTURES[name]})"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
