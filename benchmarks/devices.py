"""Measure training steps and rendering on every available device. Writes benchmarks/devices.md.

python benchmarks/devices.py [--data PATH] [--out FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nerfcl  # noqa: F401  isort: skip: configures thread pools before torch starts its own
import torch
from machine import lego_or_builtin, processor, versions
from reference_network import ReferenceStep

from nerfcl.models.rendering.model import ModelSettings, render_image
from nerfcl.models.rendering.occupancy import OccupancyModel
from nerfcl.models.settings import model_settings
from nerfcl.randomness import seeded
from nerfcl.scenes import load_scene
from nerfcl.scenes.cameras import Camera, pixel_rays, stratified_offsets
from nerfcl.strategies.finetune import FineTune
from nerfcl.streams.pixels import pixels_at
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Stream
from nerfcl.streams.tasks import make_stream
from nerfcl.training.learner import new_learner
from nerfcl.training.loop import learn
from nerfcl.training.optimisers import Adam
from nerfcl.training.settings import EvaluationSettings, TrainingSettings

BATCHES = (1024, 8192, 65_536)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=lego_or_builtin())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "devices.md")
    options = parser.parse_args()
    scene = load_scene(options.data, (64, 64))
    stream = make_stream(scene, ["right", "left"])
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    columns = [measure(device, model_settings(scene), stream) for device in devices]
    names = [processor() if d.type == "cpu" else torch.cuda.get_device_name() for d in devices]
    lines = ["# Devices", "", f"Rebuilt by `python benchmarks/devices.py`. {scene.name} at 64x64; {versions()}.", ""]
    lines += [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {what} | {' | '.join(column[what] for column in columns)} |" for what in columns[0]]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def measure(device: torch.device, settings: ModelSettings, stream: Stream) -> dict[str, str]:
    """Measure one device; return its column of the table."""
    learner = new_learner(FineTune(), lambda: settings.build(0, device), 0)
    training = TrainingSettings(evaluation=EvaluationSettings(evaluate_every=10_000, frame_every=0))
    history = learn(stream, learner, training, until=1)
    model = learner.model
    assert isinstance(model, OccupancyModel)
    rows = {
        "first task, 1500 steps of 1024 rays: training": f"{history.training:.1f} s",
        "right test views after it": f"{history.R[0][0]:.2f} dB",
    }
    for rays in BATCHES:
        rows[f"step, {rays:,} rays, trained field"] = f"{step_seconds(model, stream, rays) * 1e3:.1f} ms"
    theirs = ReferenceStep(device=device)
    rows["step of the reference network, 1024 rays"] = f"{median_seconds(theirs, device, 3) * 1e3:.0f} ms"
    camera = stream[0].test.camera(0)
    large = Camera(camera.world_from_camera, camera.intrinsics * 12.5, 800, 800)
    rows["rendering 800x800"] = f"{median_seconds(lambda: render_image(model, large), device, 5) * 1e3:.0f} ms"
    return rows


def step_seconds(model: OccupancyModel, stream: Stream, count: int) -> float:
    optimiser, generator = Adam(model.parameters()), seeded(0, "bench")
    train = stream[0].train
    sampler = EpochSampler(train.pixels, generator)

    def step() -> None:
        model.begin_step(generator)
        batch = pixels_at(train, sampler.next(count))
        offsets = stratified_offsets(len(batch), 1, generator)
        rays = pixel_rays(batch.poses, batch.intrinsics, batch.columns, batch.rows, offsets)
        rendering = model.render(rays, generator)
        (rendering.rgb - batch.colours.to(rendering.rgb.device)).square().mean().backward()
        optimiser.step(1e-5)

    return median_seconds(step, model.background.device, 48 if count < 50_000 else 16)


def median_seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Measure the median time of a call, synchronised with the device, after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
