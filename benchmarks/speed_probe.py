"""One measurement in a fresh process, of whichever nerfcl PYTHONPATH finds: this tree's, or an earlier one's.

python benchmarks/speed_probe.py '{"what": "train", "data": "builtin", "size": [64, 64], "steps": 100}'

Prints one line of JSON. Uses only names that nerfcl has had since version 0.1.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import nerfcl  # isort: skip: sets how threads wait before torch starts its own
import torch


def train(
    data: str, size: list[int], steps: int, rays: int = 1024, seed: int = 0, tasks: str = "right", enlarge: int = 1
) -> dict[str, Any]:
    """Train on one task; PSNR on all its test views."""
    learner, stream = _trained(data, size, steps, rays, seed, tasks, enlarge)
    found = {"seconds": learner.history.training, "steps": steps, "rays": rays, "peak": _peak()}
    return {**found, "psnr": learner.history.R[0][0] if enlarge == 1 else None, "views": len(stream[0].test)}


def render(data: str, size: list[int], steps: int, rays: int = 1024, seed: int = 0, views: int = 5) -> dict[str, Any]:
    """Render test views of a trained scene; median seconds of one."""
    learner, stream = _trained(data, size, steps, rays, seed, "all", 1, test=False)
    times = []
    for index in range(views + 1):
        camera = stream[0].test.camera(index) if hasattr(stream[0].test, "camera") else _camera(stream[0].test, index)
        started = time.perf_counter()
        nerfcl.render_image(learner.model, camera)
        times.append(time.perf_counter() - started)
    return {"seconds": sorted(times[1:])[views // 2]}


def online(data: str, size: list[int], frames: int, steps: int = 16) -> dict[str, Any]:
    """Learn a stream frame by frame with replay; frames per second."""
    arguments = ["online", "--data", data, "--img-wh", *map(str, size), "--steps-per-chunk", str(steps)]
    arguments += ["--chunk-frames", "1", "--frames", str(frames), "--out", sys.argv[2]]
    _nerfcl(arguments)
    results = json.loads((Path(sys.argv[2]) / "results.json").read_text())
    return {"frames_per_second": frames / results["seconds"]["training"]}


def start() -> dict[str, Any]:
    """Load or compile the kernels."""
    try:
        from nerfcl.models.compilation import compile_kernels
    except ImportError:
        from nerfcl.kernels import compile_kernels  # pyright: ignore
    return {"seconds": compile_kernels()}


def _trained(
    data: str, size: list[int], steps: int, rays: int, seed: int, tasks: str, enlarge: int, test: bool = True
) -> tuple[Any, Any]:
    start()
    scene = nerfcl.load_scene(data, size=tuple(size))
    if enlarge > 1:
        scene = _enlarged(scene, enlarge)
    stream = nerfcl.make_stream(scene, [tasks])
    learner = nerfcl.new_learner(nerfcl.FineTune(), nerfcl.model_for(scene, seed=seed), seed=seed)
    quiet = {} if test and enlarge == 1 else {"until": 1}
    if quiet:
        stream = _with_few_tests(stream)
    nerfcl.learn(stream, learner, nerfcl.TrainingSettings(steps=steps, rays=rays), **quiet)
    return learner, stream
