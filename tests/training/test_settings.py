"""Settings of training and of evaluation: what cannot work is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from nerfcl.errors import NerfclError
from nerfcl.training.settings import EvaluationSettings, TrainingSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"epoch_steps": 0}, "epoch_steps=0: must be at least 1"),
        ({"rays": 0}, "rays=0: must be a positive multiple of rays_per_pixel=1"),
        ({"rays": 10, "rays_per_pixel": 4}, "rays=10: must be a positive multiple of rays_per_pixel=4"),
        ({"rays": 2**20 + 1}, "rays=1048577: more than 1,048,576 do not fit into memory"),
        ({"rays_per_pixel": 3}, "rays_per_pixel=3: must be a square number"),
    ],
    ids=str,
)
def test_trainings_that_cannot_be_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NerfclError, match=message):
        TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        *((name, 0, "must be at least 1") for name in ("evaluate_every", "evaluate_epochs", "evaluate_views")),
        ("test_every", 0, "must be at least 1"),
        *((name, -1, "must not be negative") for name in ("frame_every", "seen_every")),
    ],
)
def test_evaluations_that_cannot_be_are_refused_by_name(name: str, value: int, why: str) -> None:
    with pytest.raises(NerfclError, match=f"{name}={value}: {why}"):
        EvaluationSettings(**{name: value})  # pyright: ignore[reportArgumentType]
