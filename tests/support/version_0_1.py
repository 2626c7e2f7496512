"""What version 0.1 wrote; see data/README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.scenes import write_tiny_scene

DATA = Path(__file__).resolve().parents[1] / "data/v0.1"
TASKS = ["--data", "tiny", "--img-wh", "16", "16", "--rays", "32", "--evaluate-views", "1", "--device", "cpu"]
TASKS += ["--memory-rays", "16", "--steps", "4", "--evaluate-every", "3", "--frame-every", "4"]
ONLINE = ["--data", "tiny", "--img-wh", "16", "16", "--rays", "32", "--evaluate-views", "1", "--device", "cpu"]
ONLINE += ["--memory-rays", "16", "--iters-per-chunk", "2", "--evaluate-every", "4"]


def restore(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy what version 0.1 wrote beside its scene, as the present folder."""
    write_tiny_scene(where / "tiny")
    shutil.copytree(DATA, where / "v0.1")
    monkeypatch.chdir(where)
    return Path("v0.1")
