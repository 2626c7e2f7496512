"""Layouts that the kernels share: the levels of a grid, and the cube that rays march through."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Corner = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class GridLevels:
    """Levels of a multi-resolution grid (Müller et al. 2022, "instant neural graphics primitives").

    A level of resolution r has (r + 1)^3 vertices. If these fit into `table_size` entries they are stored densely,
    vertex (x, y, z) at (x (r + 1) + y) (r + 1) + z; otherwise they share `table_size` entries by a spatial hash.

    Attributes:
        resolutions: (L,) int32, cells along each axis.
        starts: (L + 1,) int64, first entry of each level in the table; the last is the number of entries.
        hashed: (L,) bool, whether each level is hashed.
    """

    resolutions: np.ndarray
    starts: np.ndarray
    hashed: np.ndarray

    FEATURES = 2

    @property
    def entries(self) -> int:
        """Number of table entries, of FEATURES values each."""
        return int(self.starts[-1])

    @property
    def width(self) -> int:
        """Number of features of an encoded point, FEATURES per level."""
        return len(self.resolutions) * self.FEATURES


def geometric_levels(base_resolution: int, max_resolution: int, count: int, table_size: int) -> GridLevels:
    """Lay out levels whose resolutions grow geometrically.

    Args:
        base_resolution: cells along each axis of the first level.
        max_resolution: cells along each axis of the last level.
        count: number of levels.
        table_size: maximum entries per level, a power of two.
    """
    resolutions = np.round(np.geomspace(base_resolution, max_resolution, count)).astype(np.int32)
    vertices = (resolutions.astype(np.int64) + 1) ** 3
    hashed = vertices > table_size
    starts = np.concatenate([[0], np.cumsum(np.where(hashed, table_size, vertices))]).astype(np.int64)
    return GridLevels(resolutions, starts, hashed)


@dataclass(frozen=True)
class MarchSettings:
    """How rays march through a cube with an occupancy grid.

    Attributes:
        lower: corner of the cube with the smallest coordinates, world units.
        side: edge length of the cube, world units.
        step: distance between samples, world units.
        occ_threshold: cells whose optical thickness is at least this are sampled.
        bounds: lower and upper corner, in world units, of a box outside which nothing is occupied; samples begin at its
            near side. None is the entire cube.
    """

    lower: Corner
    side: float
    step: float
    occ_threshold: float
    bounds: tuple[Corner, Corner] | None = None

    @property
    def corners(self) -> tuple[Corner, Corner]:
        """Corners of `bounds`, or of the entire cube."""
        x, y, z = self.lower
        return self.bounds or (self.lower, (x + self.side, y + self.side, z + self.side))

    @property
    def max_samples(self) -> int:
        """Maximum number of samples per ray: the steps along the cube's diagonal."""
        return math.ceil(math.sqrt(3.0) * self.side / self.step) + 1
