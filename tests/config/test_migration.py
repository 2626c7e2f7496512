"""Descriptions and checkpoints of version 0.2, whose hash grids had two features in each entry of their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ConfigurationText
from nerfcl.config.experiment import Experiment
from nerfcl.models.fields.hash_grid import HashGridSettings
from nerfcl.models.fields.nerf import NerfSettings
from nerfcl.serialisation import to_plain
from nerfcl.training.migration import migrated
from nerfcl.training.settings import OptimiserSettings

# As version 0.2 wrote it.
GRID = {
    "kind": "hashgrid", "max_resolution": None, "base_resolution": 16, "levels": 8, "table_size": 524288, "width": 32,
    "geometry_features": 16, "log_density": -1.0,
}  # fmt: skip


def test_a_description_keeps_its_two_features() -> None:
    saved = {**Experiment().to_plain(), "field": GRID}
    expected = HashGridSettings(levels=8, features_per_level=2, table_size=2**19, log_density=-1.0)
    assert Experiment.from_plain(saved).field == expected
    configuration, _ = ConfigurationText.parse("replay").build({})
    comparison = Comparison(experiment=Experiment(), configurations=(configuration,), seeds=(0,)).to_plain()
    assert Comparison.from_plain({**comparison, "experiment": saved}).experiment.field == expected


@pytest.mark.parametrize("field", [HashGridSettings(), HashGridSettings(features_per_level=2), NerfSettings()])
def test_descriptions_of_today_are_kept(field: HashGridSettings | NerfSettings) -> None:
    experiment = Experiment(field=field)
    assert Experiment.from_plain(experiment.to_plain()) == experiment


def test_a_short_description_has_the_defaults_of_today() -> None:
    assert Experiment.from_plain({"field": {"kind": "hashgrid"}}) == Experiment()


def test_a_description_that_knew_no_opacity_weight_has_none() -> None:
    saved = Experiment().to_plain()
    assert saved["training"]["optimiser"].pop("opacity_weight") > 0.0
    assert Experiment.from_plain(saved).training.optimiser == OptimiserSettings(opacity_weight=0.0)
    short = Experiment.from_plain({**saved, "training": {"optimiser": {"learning_rate": 0.01}}})
    assert short.training.optimiser == OptimiserSettings(learning_rate=0.01)


def test_a_checkpoint_keeps_its_two_features() -> None:
    occupancy = {"cells": 64, "warm_up": 128, "coarse": 4}
    content: dict[str, Any] = {
        "format": "nerfcl checkpoint 3",
        "model_settings": {"kind": "occupancy", "field": GRID, "occupancy": occupancy},
    }
    settings = migrated(content, Path("saved.pt"))["model_settings"]
    assert settings["field"] == {**GRID, "features_per_level": 2}
    assert settings["occupancy"] == {"cells": 64}
    today = {**content, "format": "nerfcl checkpoint 4", "model_settings": {"field": to_plain(HashGridSettings())}}
    assert migrated(today, Path("saved.pt")) == today
