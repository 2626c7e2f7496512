"""`make bench`: speed and memory as ratios within one run. Writes benchmarks/results.md.

python benchmarks/speed.py [--data PATH]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: sets how thread pools wait before torch starts its own
import torch
from machine import lego_or_builtin, processor, versions
from reference_network import ReferenceStep

from nerfcl.memory.fill import TeacherOutput
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.models import kernels
from nerfcl.models.fields.hash_grid import HashGridField
from nerfcl.models.kernels import compiled, plain
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import model_for
from nerfcl.randomness import seeded
from nerfcl.scenes import Scene, Views, load_scene
from nerfcl.scenes.cameras import pixel_rays, stratified_offsets
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream
from nerfcl.training.callbacks import Callback, StepReport
from nerfcl.training.evaluation import evaluate
from nerfcl.training.history import History
from nerfcl.training.learner import Learner, new_learner
from nerfcl.training.loop import learn
from nerfcl.training.optimisers import Adam
from nerfcl.training.schedules import warm_cosine
from nerfcl.training.settings import EvaluationSettings, TrainingSettings

RESULTS = Path(__file__).parent / "results.md"
REFERENCE_DB = 27.79
Row = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=lego_or_builtin())
    data = parser.parse_args().data
    data = data if data == "builtin" else str(Path(data).resolve())
    kernels.compile_kernels()
    scene = load_scene(data, (64, 64))
    stream = make_stream(scene, ["right", "left"])
    learner, first_reach = trained(scene, stream)
    model = learner.model
    assert isinstance(model, OccupancyModel)
    sections = [
        ("Training step, 1024 rays", step_rows(model, stream)),
        (f"The first task of {scene.name} at 64x64 (1500 steps, seed 0)", first_reach.rows(learner.history)),
        (
            "Kernels against their plain torch twins (time of the twin / time of the kernel)",
            kernel_rows(model, stream),
        ),
        ("Drawing 1024 stored rays, 20 % of them uniformly from the rest, without replacement", draw_rows()),
        ("Memory", memory_rows(data)),
    ]
    text = report(sections)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
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


class FirstReach(Callback):
    """Notes when the mean PSNR on the first task's test views first reaches the reference project's."""

    def __init__(self, stream: Stream) -> None:
        self.views = stream[0].test
        self.reached: tuple[int, float, float] | None = None

    def on_step(self, learner: Learner, report: StepReport) -> None:
        if self.reached is None and report.step % 50 == 0:
            psnr = evaluate(learner.model, self.views, ssim=False).mean_psnr
            if psnr >= REFERENCE_DB:
                self.reached = (report.step, report.seconds, psnr)

    def rows(self, history: History) -> list[Row]:
        steps, seconds, psnr = self.reached or (0, float("nan"), float("nan"))
        return [
            (
                f"first reaches {REFERENCE_DB} dB on the test views (evaluated every 50 steps)",
                f"{seconds:.1f} s of training, step {steps} ({psnr:.2f} dB)",
            ),
            ("after the task", f"{history.R[0][0]:.2f} dB, {history.training:.1f} s of training"),
        ]


def trained(scene: Scene, stream: Stream) -> tuple[Learner, FirstReach]:
    """A learner after the first task, and when it reached the reference."""
    first_reach = FirstReach(stream)
    learner = new_learner(FineTune(), model_for(scene, seed=0), 0)
    settings = TrainingSettings(evaluation=EvaluationSettings(evaluate_every=10_000, frame_every=0))
    learn(stream, learner, settings, [first_reach], until=1)
    return learner, first_reach


def epoch_sampler(stream: Stream, generator: torch.Generator) -> EpochSampler:
    """Draws the first task's pixels."""
    return EpochSampler(stream[0].train.pixels, generator)


def step_rows(model: OccupancyModel, stream: Stream) -> list[Row]:
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
    return [
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


def kernel_rows(model: OccupancyModel, stream: Stream) -> list[Row]:
    generator = seeded(0, "kernels")
    batch = pixels_at(stream[0].train, epoch_sampler(stream, generator).next(1024))
    rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, stratified_offsets(1024, 1, generator))
    jitter = torch.rand(1024, generator=generator)
    settings = model.march_settings()
    positions, _, offsets = kernels.march(rays.origins, rays.directions, model.occupancy, jitter, settings)
    field = model.field
    assert isinstance(field, HashGridField)
    with torch.no_grad():
        density, _ = field.get_density(positions)
    table = field.table.detach().clone().requires_grad_()
    weights_in = [weight.detach().clone().requires_grad_() for weight in field.density_network]
    encoded = torch.randn(len(positions), field.levels.width, requires_grad=True)
    density = density.clone().requires_grad_()
    light = torch.rand(len(positions), requires_grad=True)
    values = torch.rand(len(positions), 5, requires_grad=True)
    gradient = torch.randn_like(table)
    means, squares = torch.zeros_like(table), torch.zeros_like(table)
    cases: list[tuple[str, Callable[[Any], Any]]] = [
        ("march", lambda k: k.march(rays.origins, rays.directions, model.occupancy, jitter, settings)),
        ("encode, forward and backward", lambda k: k.encode(positions, table, field.levels).sum().backward()),
        ("mlp, forward and backward", lambda k: k.mlp(encoded, *weights_in).sum().backward()),
        (
            "composite_weights, forward and backward",
            lambda k: k.composite_weights(density, model.step_length, offsets, 1e-3).sum().backward(),
        ),
        ("accumulate, forward and backward", lambda k: k.accumulate(light, values, offsets).sum().backward()),
        ("adam, every entry touched", lambda k: k.adam(table, gradient, means, squares, 5, 1e-2, (0.9, 0.99), 1e-15)),
    ]
    rows = []
    for name, call in cases:
        slow = median_seconds(lambda call=call: call(plain), 15)
        fast = median_seconds(lambda call=call: call(compiled), 45)
        rows.append((name, f"{slow / fast:.1f} ({slow * 1e3:.2f} ms / {fast * 1e3:.2f} ms)"))
    return rows


def draw_rows() -> list[Row]:
    """What a draw from memory costs, small and large."""
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
    return rows


def _noise_views(count: int) -> Views:
    images = torch.randint(0, 256, (count, 64, 64, 3), generator=seeded(0, "images"), dtype=torch.uint8)
    return Views(images, torch.eye(4).repeat(count, 1, 1), torch.ones(count, 4), ("",) * count)


def memory_rows(data: str) -> list[Row]:
    """Peak resident memory of a whole run, by itself in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from machine import run_and_tell_peak; run_and_tell_peak(sys.argv[1:])"
        options = ["run", "--data", data, "--strategy", "replay", "--steps", "200", "--out", f"{folder}/run"]
        command = [sys.executable, "-c", code, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    peak = float(done.stdout.rsplit("peak", 1)[1])
    return [("peak of `nerfcl run --strategy replay --steps 200`, everything included", f"{peak:.0f} MB")]


def report(sections: list[tuple[str, list[Row]]]) -> str:
    """The tables as Markdown."""
    lines = ["# Speed", "", "Rebuilt by `make bench`. Times are medians on a shared machine: compare within one run."]
    lines += ["", f"{processor()}; {versions()}."]
    for title, rows in sections:
        lines += ["", f"## {title}", "", "| what | measured |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
