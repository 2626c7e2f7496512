"""A grid field rendered by marching through an occupancy grid."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nerfcl.models import kernels
from nerfcl.models.fields.hash_grid import HashGridField
from nerfcl.models.kernels.layout import Corner
from nerfcl.models.rendering.model import Rendering
from nerfcl.models.rendering.ndc import to_ndc
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Box, Ndc

_MOST_POINTS = 2**20  # encoded at once


@dataclass(frozen=True)
class OccupancySettings:
    """How rays are sampled.

    Attributes:
        cells: cells of the occupancy grid along each axis.
        steps: samples across the box, edge to edge.
        occupied: cells through which a step has at least this optical thickness (or the mean, if smaller) are sampled.
        least_light: samples that less light than this reaches are not seen.
        warm_up: training steps during which every cell is sampled, at steps of `coarse` times the length: what is
            skipped before anything was learned could never be learned.
        coarse: see `warm_up`.
        update_every: training steps between updates of the grid.
        full_updates: so many first updates look at every cell, later ones at a part of them.
        decay: factor on a cell's thickness at each update; larger new values replace it.
    """

    cells: int = 64
    steps: int = 128
    occupied: float = 0.02
    least_light: float = 1e-3
    warm_up: int = 128
    coarse: int = 4
    update_every: int = 16
    full_updates: int = 4
    decay: float = 0.9


class OccupancyModel(nn.Module):
    """A field inside a box, on a background.

    Args:
        field: what is rendered.
        box: where the field's unit cube lies in the world, or in normalised device coordinates.
        background: (3,) colour behind everything.
        settings: how rays are sampled.
        ndc: warps the rays; None is the world as it is. Colours depend on directions in the world all the same, since
            a warped one changes with the place that it is seen from. Depths are then lengths in these coordinates.
    """

    thickness: Tensor
    background: Tensor

    def __init__(
        self,
        field: HashGridField,
        box: Box,
        background: tuple[float, float, float],
        settings: OccupancySettings | None = None,
        ndc: Ndc | None = None,
    ) -> None:
        super().__init__()
        self.field, self.box, self.ndc = field, box, ndc
        self.settings = settings or OccupancySettings()
        cells = self.settings.cells
        self.register_buffer("background", torch.tensor(background))
        # Optical thickness of one (fine) step within each cell: the largest seen lately.
        self.register_buffer("thickness", torch.zeros(cells, cells, cells))
        # Numbers, not buffers: reading them at every step must not wait for the device.
        self.age = 0  # training steps so far
        self.occupied = 0.0  # cells of at least this thickness are sampled
        self.inner: tuple[Corner, Corner] | None = None  # outside this box no cell is

    @property
    def step_length(self) -> float:
        """Distance between samples now, units of the box."""
        fine = self.box.side / self.settings.steps
        return fine * self.settings.coarse if self.age < self.settings.warm_up else fine

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        """Volume rendering with early termination; see `Model.render`."""
        device = self.background.device
        rays = Rays(rays.origins.to(device), rays.directions.to(device), rays.per_pixel)
        paths = rays if self.ndc is None else to_ndc(rays, self.ndc)[0]
        jitter = torch.full((len(rays),), 0.5) if generator is None else torch.rand(len(rays), generator=generator)
        positions, distances, offsets = kernels.march(
            paths.origins, paths.directions, self.thickness, jitter.to(paths.origins), self.march_settings()
        )
        density, features = self.field.geometry(positions)
        colours = self.field.colour(features, rays.directions, offsets[1:] - offsets[:-1])
        weights = kernels.composite_weights(density, self.step_length, offsets, self.settings.least_light)
        ones = torch.ones_like(distances)
        values = torch.cat([colours, distances[:, None], ones[:, None]], -1)  # (N, 5)
        total = kernels.accumulate(weights, values, offsets)  # (R, 5)
        if rays.per_pixel > 1:
            total = total.view(-1, rays.per_pixel, 5).mean(1)  # (P, 5)
        opacity = total[:, 4]
        rgb = total[:, :3] + (1.0 - opacity)[:, None] * self.background
        return Rendering(rgb, total[:, 3], opacity, samples=len(distances))

    @torch.no_grad()
    def begin_step(self, generator: torch.Generator) -> None:
        """Looks at the field's density now and then, so that rays skip what is empty."""
        since = self.age - self.settings.warm_up
        self.age += 1
        if since < 0 or since % self.settings.update_every:
            return
        cells = self._cells_to_look_at(since // self.settings.update_every)  # (M,) flat indices
        count = self.settings.cells
        corners = torch.stack([cells // count**2, cells // count % count, cells % count], -1)  # (M, 3)
        inside = torch.rand(len(cells), 3, generator=generator).to(corners.device)
        density, _ = self.field.geometry((corners + inside) / count)
        flat = self.thickness.view(-1)
        flat[cells] = torch.maximum(flat[cells] * self.settings.decay, density * self.step_length)
        # Rounding may lift the mean of equal cells above all of them.
        usual = torch.minimum(self.thickness.mean(), self.thickness.max())
        self.occupied = min(float(usual), self.settings.occupied)
        self.inner = self._box_around((self.thickness >= self.occupied).nonzero())

    def get_extra_state(self) -> dict[str, Any]:
        """What the state dict holds beside parameters and buffers."""
        return {"age": self.age, "occupied": self.occupied, "inner": self.inner}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_extra_state` gave."""
        self.age, self.occupied, self.inner = state["age"], state["occupied"], state["inner"]

    def snapshot(self) -> OccupancyModel:
        """A frozen copy."""
        return copy.deepcopy(self).requires_grad_(False)

    def rendering_state(self) -> Mapping[str, Tensor]:
        """The field's parameters, which cells are occupied, and the age; table entries that no sample reads are 0."""
        seen = self.thickness >= self.occupied
        state = {name: parameter.detach() for name, parameter in self.field.named_parameters()}
        state["table"] = state["table"] * self._read_entries(seen)[:, None]
        return {**state, "seen": seen, "age": torch.tensor(self.age)}

    def load_rendering_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `rendering_state` gave."""
        with torch.no_grad():
            for name, parameter in self.field.named_parameters():
                parameter.copy_(state[name])
            self.thickness.copy_(state["seen"])
        self.age, self.occupied = int(state["age"]), 0.5
        self.inner = self._box_around(state["seen"].nonzero())

    def _read_entries(self, seen: Tensor) -> Tensor:
        """(E,) 1 where interpolation within a (C, C, C) grid's seen cells reads a table entry, else 0."""
        count = self.settings.cells
        # Fine enough that there is a point in each of the finest level's cells that an occupancy cell touches.
        side = -(-int(self.field.levels.resolutions[-1]) // count) + 1
        inside = torch.linspace(1e-3, 1.0 - 1e-3, side, device=seen.device)
        points = torch.stack(torch.meshgrid(inside, inside, inside, indexing="ij"), -1).view(-1, 3)
        table = torch.zeros_like(self.field.table, requires_grad=True)
        with torch.enable_grad():
            for cells in seen.nonzero().split(max(_MOST_POINTS // len(points), 1)):
                positions = ((cells[:, None] + points) / count).reshape(-1, 3)
                kernels.encode(positions, table, self.field.levels).sum().backward()
        return torch.zeros(len(table), device=seen.device) if table.grad is None else (table.grad[:, 0] != 0.0).float()

    def _cells_to_look_at(self, turn: int) -> Tensor:
        """All cells at first; later every eighth cell and every fourth occupied one, in turns."""
        chosen = torch.zeros_like(self.thickness, dtype=torch.bool).view(-1)
        if turn < self.settings.full_updates:
            chosen[:] = True
        else:
            chosen[turn % 8 :: 8] = True
            occupied = (self.thickness.view(-1) >= self.occupied).nonzero()[:, 0]
            chosen[occupied[turn % 4 :: 4]] = True
        return chosen.nonzero()[:, 0]

    def march_settings(self) -> kernels.MarchSettings:
        """How rays march now."""
        return kernels.MarchSettings(self.box.lower, self.box.side, self.step_length, self.occupied, self.inner)

    def _box_around(self, cells: Tensor) -> tuple[Corner, Corner]:
        size = self.box.side / self.settings.cells
        first, last = cells.amin(0).tolist(), cells.amax(0).tolist()
        x, y, z = self.box.lower
        return (
            (x + first[0] * size, y + first[1] * size, z + first[2] * size),
            (x + (last[0] + 1) * size, y + (last[1] + 1) * size, z + (last[2] + 1) * size),
        )
