"""What the attacks work on: small scenes on disk, processes of nerfcl, and comparison of what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from nerfcl.scenes import load_scene
from nerfcl.scenes.scene import Scene, Views

SIDE = 16  # pixels
ANGLE = 0.7  # of the camera, radians; only has to be plausible
SMALL = ["--img-wh", "16", "16", "--device", "cpu", "--evaluate-views", "1", "--max-resolution", "16"]


def write_scene(root: Path, views: int = 12) -> Path:
    """Write a scene in Blender layout, with so many views of the built-in scene in each split."""
    scene = small_scene()
    for split in ("train", "val", "test"):
        everything: Views = getattr(scene, split)
        chosen = everything.select(range(0, len(everything), max(1, len(everything) // views))[:views])
        frames = [
            _write_view(root, f"{split}/r_{i}", image, pose)
            for i, (image, pose) in enumerate(zip(chosen.images, chosen.poses, strict=True))
        ]
        content = {"camera_angle_x": ANGLE, "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(content))
    return root


def write_watched(root: Path, frames: int) -> Path:
    """Write a watched folder with so many frames, and the marker that says that this is all."""
    train = small_scene().train
    entries = [
        _write_view(root, f"images/r_{i}", train.images[i % len(train)], train.poses[i % len(train)])
        for i in range(frames)
    ]
    (root / "transforms.json").write_text(json.dumps({"camera_angle_x": ANGLE, "frames": entries}))
    (root / "done").touch()
    return root


def small_scene() -> Scene:
    """Load the built-in scene at 16x16 pixels."""
    return load_scene("builtin", (SIDE, SIDE))


def _write_view(root: Path, name: str, image: torch.Tensor, pose: torch.Tensor) -> dict[str, Any]:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.numpy()).save(root / f"{name}.png")
    return {"file_path": name, "transform_matrix": pose.tolist()}


def start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start nerfcl in a process of its own, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, "-m", "nerfcl", *arguments], text=True, **{"env": environment, **streams, **options}
    )


def differences(one: Path, other: Path) -> list[str]:
    """Name the files that differ between two output folders; seconds may."""
    first, second = files_of(one), files_of(other)
    found = sorted(first ^ second)
    for name in sorted(first & second):
        if Path(name).name not in _WITH_SECONDS and not _EQUAL.get(Path(name).suffix, lambda *_: True)(
            one / name, other / name
        ):
            found.append(name)
    return found


_WITH_SECONDS = ("comparison.png",)  # labels tell how long each run took


def files_of(folder: Path) -> set[str]:
    """List the files of a run, relative to its folder, but for locks and event files."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix()
        for path in paths
        if "tfevents" not in path.name and not path.name.startswith(".")
    }


def _same_results(one: Path, other: Path) -> bool:
    if one.name == "config.json":  # names its folder
        return True
    return _without_time(json.loads(one.read_text())) == _without_time(json.loads(other.read_text()))


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        left_out = ("seconds", "frames_per_second", "command")
        return {name: _without_time(part) for name, part in value.items() if name not in left_out}
    return [_without_time(part) for part in value] if isinstance(value, list) else value


def _same_checkpoint(one: Path, other: Path) -> bool:
    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    for content in (first, second):
        for name in ("training", "evaluation", "compilation"):
            del content["history"][name]
    return _same(first, second)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return repr(one) == repr(other)  # NaN equals itself


def _same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


_EQUAL = {".json": _same_results, ".pt": _same_checkpoint, ".gif": _same_bytes, ".png": _same_bytes}
