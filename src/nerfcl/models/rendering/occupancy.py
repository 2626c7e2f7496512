"""Rendering of any field by ray marching through an occupancy grid."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from nerfcl.errors import require, require_between
from nerfcl.models import kernels
from nerfcl.models.fields.field import Field, FieldSettings
from nerfcl.models.kernels.layout import Corner
from nerfcl.models.kernels.threads import in_parallel
from nerfcl.models.rendering.model import ModelSettings, Rendering
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.randomness import seeded
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Box, Colour, Ndc, Scene

WHITE: Colour = (1.0, 1.0, 1.0)
_CELLS = 2**16  # restored at once
_CELLS_A_TURN = 2**14  # of all cells, in an update that evaluates a part
_POINTS = 4096  # evaluated at once by each of the processor's threads


@dataclass(frozen=True)
class OccupancySettings:
    """How rays are sampled.

    Attributes:
        cells: cells of the occupancy grid along each axis.
        steps: steps along an edge of the box; a ray has at most one sample for each step that it is in occupied cells.
        samples: maximum number of samples per ray in a training step; a picture's rays have up to twice as many.
        early_steps: number of initial training steps with few samples: nothing is known to be empty yet, and a coarse
            field needs no more.
        early_samples: maximum number of samples of such a step; a ray may still have a third of `samples`.
        uniform: share of a ray's samples that is spread evenly over its occupied cells, so that nothing there is ever
            unseen; the others follow the light that the cells stop.
        occ_threshold: a cell is occupied if a step through it has at least this optical thickness (or the mean over all
            cells, if smaller).
        early_stop_eps: transmittance below which samples are ignored.
        update_every: training steps between updates of the grid.
        full_updates: number of initial updates that evaluate every cell; later ones evaluate a subset.
        decay: factor on a cell's optical thickness at each update; larger new values replace the product.
    """

    cells: int = 64
    steps: int = 128
    samples: int = 24
    early_steps: int = 1024
    early_samples: int = 2**14
    uniform: float = 0.85
    occ_threshold: float = 0.02
    early_stop_eps: float = 1e-3
    update_every: int = 16
    full_updates: int = 2
    decay: float = 0.8

    def __post_init__(self) -> None:
        limits = {"cells": 256, "steps": 2 * 4096, "update_every": 2**31, "samples": 4096}
        for name, most in limits.items():
            require_between(self, name, 1, most)
        for name in ("early_steps", "early_samples", "full_updates"):
            require(getattr(self, name) >= 0, self, name, "must not be negative")
        require(0.0 < self.uniform <= 1.0, self, "uniform", "must be above 0 and at most 1")
        for name in ("occ_threshold", "early_stop_eps", "decay"):
            require(0.0 <= getattr(self, name) < 1.0, self, name, "must be at least 0 and below 1")


@dataclass(frozen=True)
class OccupancyModelSettings(ModelSettings):
    """A field inside a box, on a background, and how its rays are sampled.

    Attributes:
        field: settings of the field.
        box: cube that the field covers, in normalised device coordinates if `ndc` is given, else in the world.
        background: background colour, sRGB in [0, 1].
        occupancy: how rays are sampled.
        ndc: how rays are warped; None disables warping.

    Example:
        >>> from nerfcl.models.fields.hash_grid import HashGridSettings
        >>> box = Box.around((0.0, 0.0, 0.0), side=2.9)
        >>> settings = OccupancyModelSettings.in_box(HashGridSettings(), box, image_width=64)
        >>> settings.field.resolution, settings.occupancy.steps
        (63, 126)
    """

    field: FieldSettings
    box: Box
    background: Colour = WHITE
    occupancy: OccupancySettings = dataclasses.field(default_factory=OccupancySettings)
    ndc: Ndc | None = None

    def __post_init__(self) -> None:
        colour = len(self.background) == 3 and all(0.0 <= part <= 1.0 for part in self.background)
        require(colour, self, "background", "must be three numbers between 0 and 1")

    @classmethod
    def for_scene(cls, field: FieldSettings, scene: Scene) -> Self:
        """Return settings that suit a scene's images."""
        return cls.in_box(field, scene.box, scene.train.width, scene.background, scene.ndc)

    @classmethod
    def in_box(
        cls, field: FieldSettings, box: Box, image_width: int, background: Colour = WHITE, ndc: Ndc | None = None
    ) -> Self:
        """Return settings for images about as wide as a box.

        Args:
            field: settings of the field.
            box: cube that the field covers.
            image_width: image width in pixels.
            background: background colour, sRGB in [0, 1].
            ndc: how rays are warped; None disables warping.
        """
        field = field.for_images(image_width)
        occupancy = OccupancySettings(cells=min(field.resolution, 128), steps=2 * field.resolution)
        return cls(field, box, background, occupancy, ndc)

    def build(self, seed: int, device: torch.device | str = "cpu") -> OccupancyModel:
        """Build an untrained model; the seed determines its initial values."""
        return OccupancyModel(self, self.field.build(seeded(seed, "model"))).to(device)


class OccupancyModel(nn.Module):
    """A field sampled in the occupied cells of an occupancy grid (Müller et al. 2022, appendix E.2).

    Args:
        settings: box, background, and how rays are sampled. With warped rays, colours still depend on world directions,
            since warped ones vary with the viewpoint; depths are then lengths in warped coordinates.
        field: field to render.
    """

    occupancy: Tensor
    background: Tensor

    def __init__(self, settings: OccupancyModelSettings, field: Field) -> None:
        super().__init__()
        self.field, self.box, self.ndc, self.sampling = field, settings.box, settings.ndc, settings.occupancy
        cells = self.sampling.cells
        self.register_buffer("background", torch.tensor(settings.background))
        # Optical thickness of one (fine) step within each cell: a decaying maximum.
        self.register_buffer("occupancy", torch.zeros(cells, cells, cells))
        # Numbers, not buffers: reading them at every step must not wait for the device.
        self.age = 0  # training steps so far
        self.occ_threshold = 0.0  # cells of at least this optical thickness are sampled
        self.bounds: tuple[Corner, Corner] | None = None  # no cell outside this box is sampled

    @property
    def step_length(self) -> float:
        """Length that the optical thickness of a cell belongs to, in units of the box."""
        return self.box.side / self.sampling.steps

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Render rays by volume rendering with early termination; see `Model.render`."""
        device = self.background.device
        rays = Rays(rays.origins.to(device), rays.directions.to(device), rays.per_pixel)
        paths = rays if self.ndc is None else to_ndc(rays, self.ndc)[0]
        jitter = torch.full((len(rays),), 0.5) if generator is None else torch.rand(len(rays), generator=generator)
        layout = self.sampling_layout(None if generator is None else len(rays))
        samples = kernels.sample(paths.origins, paths.directions, self.occupancy, jitter.to(paths.origins), layout)
        total = self.field.integrate(samples, rays.directions, self.sampling.early_stop_eps)  # (R, 5)
        if rays.per_pixel > 1:
            total = total.view(-1, rays.per_pixel, 5).mean(1)  # (P, 5)
        colour, distance, opacity = total.split((3, 1, 1), 1)
        rgb = torch.addcmul(colour + self.background, opacity, self.background, value=-1.0)  # (P, 3)
        return Rendering(rgb, distance[:, 0], opacity[:, 0], samples=len(samples.distances))

    @torch.no_grad()
    def begin_step(self, generator: torch.Generator) -> None:
        """Update the occupancy grid at intervals, so that rays skip empty space."""
        turn, wait = divmod(self.age, self.sampling.update_every)
        self.age += 1
        if wait or turn == 0:  # nothing is learned yet
            return
        cells = self._cells_to_evaluate(turn - 1)  # (M,) flat indices
        count = self.sampling.cells
        corners = torch.stack([cells // count**2, cells // count % count, cells % count], -1)  # (M, 3)
        inside = torch.rand(len(cells), 3, generator=generator).to(corners.device)
        thickness = self._thickness_at((corners + inside) / count)
        flat = self.occupancy.view(-1)
        flat[cells] = torch.maximum(flat[cells] * self.sampling.decay, thickness)
        # Rounding may lift the mean of equal cells above all of them.
        mean = torch.minimum(self.occupancy.mean(), self.occupancy.max())
        self.occ_threshold = min(float(mean), self.sampling.occ_threshold)
        self.bounds = self._bounds_of((self.occupancy >= self.occ_threshold).nonzero())

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the state dict holds besides parameters and buffers."""
        return {"age": self.age, "occ_threshold": self.occ_threshold, "bounds": self.bounds}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned.

        Raises:
            ValueError: it is something else.
        """
        bounds = state["bounds"]
        corners = [] if bounds is None else [float(x) for corner in bounds for x in corner]
        numbers = [int(state["age"]), float(state["occ_threshold"]), *corners]
        if len(corners) not in (0, 6) or state["age"] < 0 or not all(map(math.isfinite, numbers)):
            raise ValueError("the occupancy grid's state")
        self.age, self.occ_threshold, self.bounds = state["age"], state["occ_threshold"], state["bounds"]

    def snapshot(self) -> Self:
        """Return a frozen copy."""
        return copy.deepcopy(self).requires_grad_(False)

    def rendering_state(self) -> Mapping[str, Tensor]:
        """Return what the field needs to render its occupied cells, and the mask of these cells."""
        occupied = self.occupancy >= self.occ_threshold
        return {**self.field.rendering_state(occupied), "seen": occupied}

    @torch.no_grad()
    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `rendering_state` returned; the optical thickness of occupied cells is measured anew."""
        self.field.load_rendering_state(state)
        self.occ_threshold = max(self.sampling.occ_threshold, 1e-6)
        occupied = state["seen"].to(self.occupancy.device).nonzero()  # (M, 3)
        quarters = torch.cartesian_prod(*[torch.tensor([0.25, 0.75], device=occupied.device)] * 3)  # (8, 3)
        self.occupancy.zero_()
        for part in occupied.split(_CELLS):
            places = ((part[:, None] + quarters) / self.sampling.cells).reshape(-1, 3)  # (M * 8, 3)
            thickness = self._thickness_at(places).view(-1, 8).mean(1)  # (M,)
            self.occupancy[part.unbind(-1)] = thickness.clamp(min=self.occ_threshold).to(self.occupancy)
        self.bounds = self._bounds_of(occupied)

    def sampling_layout(self, trained: int | None = None) -> kernels.SamplingLayout:
        """Return how rays are sampled now.

        Args:
            trained: number of rays of a training step; None renders a picture.
        """
        samples = self.sampling.samples
        if trained is None:
            samples *= 2
        elif self.age <= self.sampling.early_steps:
            samples = min(max(self.sampling.early_samples // max(trained, 1), -(-samples // 3)), samples)
        return kernels.SamplingLayout(
            self.box.lower, self.box.side, self.step_length, samples, self.sampling.uniform, self.occ_threshold,
            self.bounds,
        )  # fmt: skip

    def _thickness_at(self, places: Tensor) -> Tensor:
        """Evaluate the optical thickness (N,) of a step at places (N, 3) in the unit cube, without gradients."""
        parts = places.split(_POINTS if places.device.type == "cpu" else max(len(places), 1))
        thickness = torch.empty(len(places), dtype=places.dtype, device=places.device)
        into = thickness.split(len(parts[0]))

        def evaluate(part: int) -> None:
            with torch.no_grad():  # of this thread
                torch.mul(self.field.get_density(parts[part])[0], self.step_length, out=into[part])

        in_parallel(evaluate, len(parts))
        return thickness

    def _cells_to_evaluate(self, turn: int) -> Tensor:
        """Choose all cells at first; later a part of all and every fourth occupied one, in turn."""
        chosen = torch.zeros_like(self.occupancy, dtype=torch.bool).view(-1)
        if turn < self.sampling.full_updates:
            chosen[:] = True
        else:
            turns = -(-len(chosen) // _CELLS_A_TURN)
            chosen[turn % turns :: turns] = True
            occupied = (self.occupancy.view(-1) >= self.occ_threshold).nonzero()[:, 0]
            chosen[occupied[turn % 4 :: 4]] = True
        return chosen.nonzero()[:, 0]

    def _bounds_of(self, cells: Tensor) -> tuple[Corner, Corner]:
        """Find the corners of the smallest box around cells (M, 3), in units of the box."""
        size = self.box.side / self.sampling.cells
        first, last = cells.amin(0).tolist(), cells.amax(0).tolist()
        x, y, z = self.box.lower
        return (
            (x + first[0] * size, y + first[1] * size, z + first[2] * size),
            (x + (last[0] + 1) * size, y + (last[1] + 1) * size, z + (last[2] + 1) * size),
        )
