"""Settings -> an untrained model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nerfcl.errors import NerfclError
from nerfcl.models.fields.hash_grid import HashGridField, HashGridSettings
from nerfcl.models.fields.nerf import NerfField
from nerfcl.models.rendering.hierarchical import HierarchicalModel, HierarchicalSettings
from nerfcl.models.rendering.occupancy import OccupancyModel, OccupancySettings
from nerfcl.randomness import seeded
from nerfcl.scenes.scene import Box, Ndc, Scene

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class GridModel:
    """A grid field, rendered by marching through an occupancy grid.

    Attributes:
        box: where the field lies: in the world, or in normalised device coordinates.
        background: colour behind everything.
        field: shape of the field.
        occupancy: how rays are sampled.
        ndc: how rays are warped; None is not at all.
    """

    box: Box
    background: Colour
    field: HashGridSettings = dataclasses.field(default_factory=HashGridSettings)
    occupancy: OccupancySettings = dataclasses.field(default_factory=OccupancySettings)
    ndc: Ndc | None = None

    @staticmethod
    def for_scene(scene: Scene, finest: int | None = None, width: int = 32) -> GridModel:
        """Settings that suit a scene's images.

        The box is one image wide, so that as many cells as pixels would be the pixels' footprint; a little finer is
        better (five cells to four pixels, the default).

        Args:
            scene: what is to be learned.
            finest: cells of the finest level along each axis.
            width: width of the networks.
        """
        box, background = scene.box, scene.background
        return GridModel.for_box(box, scene.train.width, background, finest=finest, width=width, ndc=scene.ndc)

    @staticmethod
    def for_box(
        box: Box,
        image_width: int,
        background: Colour = (1.0, 1.0, 1.0),
        *,
        finest: int | None = None,
        width: int = 32,
        ndc: Ndc | None = None,
    ) -> GridModel:
        """Settings for images that are as wide as the box, of so many pixels; see `for_scene`."""
        finest = max(round(1.25 * image_width), 32) if finest is None else finest
        field = HashGridSettings(finest=finest, width=width)
        return GridModel(box, background, field, OccupancySettings(min(finest, 128), 2 * finest), ndc)

    def build(self, seed: int, device: torch.device | str = "cpu") -> OccupancyModel:
        """An untrained model; the seed decides its initial values."""
        model_field = HashGridField(self.field, seeded(seed, "model"))
        return OccupancyModel(model_field, self.box, self.background, self.occupancy, self.ndc).to(device)


@dataclass(frozen=True)
class NerfModel:
    """The reference project's networks, coarse and fine.

    Attributes:
        background: colour behind everything.
        sampling: how rays are sampled.
        ndc: how rays are warped; None is not at all.

    Raises:
        NerfclError: samples shall be spread in disparity, which warped rays do by themselves.
    """

    background: Colour
    sampling: HierarchicalSettings
    ndc: Ndc | None = None

    def __post_init__(self) -> None:
        if self.ndc is not None and self.sampling.use_disp:
            raise NerfclError(
                "--use-disp: a forward-facing scene is sampled evenly in disparity already, in normalised device "
                "coordinates; leave the option out"
            )

    @staticmethod
    def for_scene(scene: Scene, **sampling: Any) -> NerfModel:
        """Samples reach through the ball around the scene's box that touches its edges, for every train camera.

        In normalised device coordinates they reach from the near plane to infinity.

        Args:
            scene: what is to be learned.
            sampling: what else to set in `HierarchicalSettings`.
        """
        if scene.ndc is not None:
            return NerfModel(scene.background, HierarchicalSettings(0.0, 1.0, **sampling), scene.ndc)
        center = torch.tensor(scene.box.lower) + 0.5 * scene.box.side
        distances = (scene.train.poses[:, :3, 3] - center).norm(dim=-1)
        radius = 0.5 * scene.box.side * math.sqrt(2.0)
        near = max(float(distances.min()) - radius, 0.05 * scene.box.side)
        return NerfModel(scene.background, HierarchicalSettings(near, float(distances.max()) + radius, **sampling))

    def build(self, seed: int, device: torch.device | str = "cpu") -> HierarchicalModel:
        """An untrained model; the seed decides its initial values."""
        coarse = NerfField(seeded(seed, "model"))
        fine = NerfField(seeded(seed, "fine model")) if self.sampling.importance else None
        return HierarchicalModel(coarse, fine, self.background, self.sampling, self.ndc).to(device)


ModelSettings = GridModel | NerfModel


def settings_to_dict(settings: ModelSettings) -> dict[str, Any]:
    """Settings as plain numbers and words, for a checkpoint."""
    kind = "hashgrid" if isinstance(settings, GridModel) else "nerf"
    return {"field": kind, "settings": dataclasses.asdict(settings)}


def settings_from_dict(saved: dict[str, Any]) -> ModelSettings:
    """What `settings_to_dict` was given."""
    parts = saved["settings"]
    background: Colour = tuple(parts["background"])
    ndc = Ndc(**parts["ndc"]) if parts.get("ndc") else None
    if saved["field"] == "nerf":
        return NerfModel(background, HierarchicalSettings(**parts["sampling"]), ndc)
    box = Box(tuple(parts["box"]["lower"]), parts["box"]["side"])
    field, occupancy = HashGridSettings(**parts["field"]), OccupancySettings(**parts["occupancy"])
    return GridModel(box, background, field, occupancy, ndc)


def model_for(scene: Scene, seed: int = 0, device: torch.device | str = "cpu") -> Callable[[], OccupancyModel]:
    """What makes untrained grid models with the default settings for a scene, all with the same initial values."""
    settings = GridModel.for_scene(scene)
    return lambda: settings.build(seed, device)
