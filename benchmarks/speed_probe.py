"""One measurement in a fresh process, of whichever nerfcl PYTHONPATH finds: this tree's, or an earlier one's.

python benchmarks/speed_probe.py '{"what": "train", "data": "builtin", "size": 64, "steps": 100}'

Prints one line of JSON. Apart from where things are defined, it uses what nerfcl has had since version 0.1.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from phone_capture import phone_capture

import nerfcl

command: Any
try:
    from nerfcl.cli.main import main as command
    from nerfcl.models.compilation import compile_kernels
    from nerfcl.training.loop import learn_experience
except ImportError:  # version 0.1
    from nerfcl.kernels import compile_kernels  # pyright: ignore

    from nerfcl.cli import main as command  # pyright: ignore
    from nerfcl.training import learn_experience  # pyright: ignore


def train(
    data: str, size: int, steps: int, rays: int | None = None, seed: int = 0, task: str = "all", enlarge: int = 1,
    views: int = 10**6,
) -> dict[str, Any]:  # fmt: skip
    """Train on one task; PSNR on its test views, at most so many of them, unless images are enlarged."""
    learner, experience = _trained(data, size, steps, rays, seed, task, enlarge)
    chosen = experience.test.select(range(0, len(experience.test), -(-len(experience.test) // views)))
    psnr = nerfcl.evaluate(learner.model, chosen).mean_psnr if enlarge == 1 else None
    return {"seconds": learner.history.training, "psnr": psnr, "peak": _peak()}


def render(data: str, size: int, steps: int, views: int = 5) -> dict[str, Any]:
    """Render test views of a trained scene; median seconds of one."""
    learner, experience = _trained(data, size, steps, None, 0, "all", 1)
    times = []
    for index in range(views + 1):
        started = time.perf_counter()
        nerfcl.render_image(learner.model, experience.test.camera(index))
        times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times[1:])}


def online(data: str, size: int, frames: int, steps: int = 16) -> dict[str, Any]:
    """Learn a stream frame by frame with replay; frames per second."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "online"
        options = ["--data", data, "--img-wh", str(size), str(size), "--frames", str(frames), "--chunk-frames", "1"]
        options += ["--iters-per-chunk", str(steps)]
        if command(["online", *options, "--out", str(out)]):
            raise SystemExit(1)
        results = json.loads((out / "results.json").read_text())
    return {"frames_per_second": frames / results["seconds"]["training"]}


def reference(data: str, steps: int) -> dict[str, Any]:
    """Five rows of the reference project's experiment: right alone, and after left with each of four strategies."""
    with tempfile.TemporaryDirectory() as folder:
        compile_kernels()
        options = ["--data", data, "--img-wh", "64", "64", "--steps", str(steps), "--strategies"]
        options += ["finetune", "soft-targets", "replay", "joint"]
        started = time.perf_counter()
        if command(["compare", *options, "--out", str(Path(folder) / "five")]):
            raise SystemExit(1)
        return {"seconds": time.perf_counter() - started}


def start() -> dict[str, Any]:
    """Compile the kernels, or load them."""
    return {"seconds": compile_kernels()}


def _trained(data: str, size: int, steps: int, rays: int | None, seed: int, task: str, enlarge: int) -> tuple[Any, Any]:
    compile_kernels()
    scene = phone_capture(Path(data), size) if (Path(data) / "transforms.json").exists() else _square(data, size)
    if enlarge > 1:
        scene = replace(scene, train=_enlarged(scene.train, enlarge))
    experience = nerfcl.make_stream(scene, [task])[0]
    learner = nerfcl.new_learner(nerfcl.FineTune(), nerfcl.model_for(scene, seed=seed), seed=seed)
    chosen: Any = {} if rays is None else {"rays": rays}
    learn_experience(learner, experience, nerfcl.TrainingSettings(steps=steps, **chosen))
    return learner, experience


def _square(data: str, size: int) -> Any:
    return nerfcl.load_scene(data, size=(size, size))


def _enlarged(views: Any, times: int) -> Any:
    images = views.images.repeat_interleave(times, 1).repeat_interleave(times, 2)
    return replace(views, images=images, intrinsics=views.intrinsics * times)


def _peak() -> float:
    """Most memory that this process has held, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    measures = {part.__name__: part for part in (train, render, online, reference, start)}
    print(json.dumps(measures[wanted.pop("what")](**wanted)))
