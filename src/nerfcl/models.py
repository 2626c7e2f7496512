"""Settings -> an untrained model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nerfcl.fields.hashgrid import HashGridField, HashGridSettings
from nerfcl.randomness import seeded
from nerfcl.rendering.occupancy import OccupancyModel, OccupancySettings
from nerfcl.scenes.scene import Box, Scene


@dataclass(frozen=True)
class ModelSettings:
    """What is needed to build an untrained model.

    Attributes:
        box: where the field lies in the world.
        background: colour behind everything.
        field: shape of the field.
        occupancy: how rays are sampled.
    """

    box: Box
    background: tuple[float, float, float]
    field: HashGridSettings = dataclasses.field(default_factory=HashGridSettings)
    occupancy: OccupancySettings = dataclasses.field(default_factory=OccupancySettings)

    @staticmethod
    def for_scene(scene: Scene, finest: int | None = None, width: int = 32) -> ModelSettings:
        """Settings that suit a scene's images.

        The box is one image wide, so that as many cells as pixels would be the pixels' footprint; a little finer is
        better (five cells to four pixels, the default).

        Args:
            scene: what is to be learned.
            finest: cells of the finest level along each axis.
            width: width of the networks.
        """
        finest = max(round(1.25 * scene.train.width), 32) if finest is None else finest
        return ModelSettings(
            scene.box,
            scene.background,
            HashGridSettings(finest=finest, width=width),
            OccupancySettings(cells=min(finest, 128), steps=2 * finest),
        )

    def build(self, seed: int, device: torch.device | str = "cpu") -> OccupancyModel:
        """An untrained model; the seed decides its initial values."""
        model_field = HashGridField(self.field, seeded(seed, "model"))
        return OccupancyModel(model_field, self.box, self.background, self.occupancy).to(device)


def model_for(scene: Scene, seed: int = 0, device: torch.device | str = "cpu") -> Callable[[], OccupancyModel]:
    """What makes untrained models with the default settings for a scene, all with the same initial values."""
    settings = ModelSettings.for_scene(scene)
    return lambda: settings.build(seed, device)
