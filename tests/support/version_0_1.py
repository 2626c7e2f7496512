"""What version 0.1 wrote; see data/README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.rendering.occupancy import OccupancyModelSettings, OccupancySettings
from support.scenes import write_tiny_scene

DATA = Path(__file__).resolve().parents[1] / "data/v0.1"
TASKS = ["--data", "tiny", "--img-wh", "16", "16", "--rays", "32", "--evaluate-views", "1", "--device", "cpu"]
TASKS += ["--memory-rays", "16", "--steps", "4", "--evaluate-every", "3", "--frame-every", "4"]
ONLINE = ["--data", "tiny", "--img-wh", "16", "16", "--rays", "32", "--evaluate-views", "1", "--device", "cpu"]
ONLINE += ["--memory-rays", "16", "--iters-per-chunk", "2", "--evaluate-every", "4"]


def restore(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy what version 0.1 wrote beside its scene, as the present folder; new models are as small as its were."""
    write_tiny_scene(where / "tiny")
    shutil.copytree(DATA, where / "v0.1")
    monkeypatch.chdir(where)
    small = HashGridSettings(
        base_resolution=2, max_resolution=6, levels=2, features_per_level=2, width=8, geometry_features=4
    )

    def in_box(cls, field, box, image_width, background=(1.0, 1.0, 1.0), ndc=None):
        return cls(small, box, background, OccupancySettings(cells=8, steps=16), ndc)

    monkeypatch.setattr(OccupancyModelSettings, "in_box", classmethod(in_box))
    return Path("v0.1")
