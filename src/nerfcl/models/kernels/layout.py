"""Layouts that the kernels share: the levels of a grid, the cube that rays cross, and the samples along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

Corner = tuple[float, float, float]

LINE = 16  # numbers that are marked, and updated, together: a line of the processor's cache


@dataclass(frozen=True, eq=False)
class GridLevels:
    """Levels of a multi-resolution grid (Müller et al. 2022, "instant neural graphics primitives").

    A level of resolution r has (r + 1)^3 vertices. If these fit into `table_size` entries they are stored densely,
    vertex (x, y, z) at (x (r + 1) + y) (r + 1) + z; otherwise they share `table_size` entries by a spatial hash.

    Attributes:
        resolutions: (L,) int32, cells along each axis.
        starts: (L + 1,) int64, first entry of each level in the table; the last is the number of entries.
        hashed: (L,) bool, whether each level is hashed.
        features: features of an entry, 2 or 4.
    """

    resolutions: np.ndarray
    starts: np.ndarray
    hashed: np.ndarray
    features: int = 2

    @property
    def entries(self) -> int:
        """Number of table entries."""
        return int(self.starts[-1])

    @property
    def width(self) -> int:
        """Number of features of an encoded point."""
        return len(self.resolutions) * self.features


def geometric_levels(
    base_resolution: int, max_resolution: int, count: int, table_size: int, features: int = 2
) -> GridLevels:
    """Lay out levels whose resolutions grow geometrically.

    Args:
        base_resolution: cells along each axis of the first level.
        max_resolution: cells along each axis of the last level.
        count: number of levels.
        table_size: maximum entries per level, a power of two.
        features: features of an entry, 2 or 4.
    """
    resolutions = np.round(np.geomspace(base_resolution, max_resolution, count)).astype(np.int32)
    vertices = (resolutions.astype(np.int64) + 1) ** 3
    hashed = vertices > table_size
    starts = np.concatenate([[0], np.cumsum(np.where(hashed, table_size, vertices))]).astype(np.int64)
    return GridLevels(resolutions, starts, hashed, features)


@dataclass(frozen=True)
class SamplingLayout:
    """How rays are sampled in a cube with an occupancy grid.

    Attributes:
        lower: corner of the cube with the smallest coordinates, world units.
        side: edge length of the cube, world units.
        step: length that the optical thickness of a cell belongs to, world units; a ray gets at most one sample for
            each of these lengths that it is in occupied cells.
        max_samples: maximum number of samples per ray.
        uniform: share of the samples that is spread evenly over occupied cells; the rest follows the light that the
            cells stop. In (0, 1].
        occ_threshold: cells whose optical thickness is at least this are occupied.
        bounds: lower and upper corner, in world units, of a box outside which nothing is occupied. None is the entire
            cube.
    """

    lower: Corner
    side: float
    step: float
    max_samples: int
    uniform: float
    occ_threshold: float
    bounds: tuple[Corner, Corner] | None = None

    @property
    def corners(self) -> tuple[Corner, Corner]:
        """Corners of `bounds`, or of the entire cube."""
        x, y, z = self.lower
        return self.bounds or (self.lower, (x + self.side, y + self.side, z + self.side))


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples along R rays.

    Attributes:
        positions: (N, 3) in the unit cube.
        distances: (N,) from the rays' origins, world units.
        lengths: (N,) length of the ray that each sample stands for, world units.
        offsets: (R + 1,) int64, the samples of ray r are offsets[r] to offsets[r + 1].
    """

    positions: Tensor
    distances: Tensor
    lengths: Tensor
    offsets: Tensor

    @property
    def counts(self) -> Tensor:
        """Number of samples of each ray, (R,) int64."""
        return self.offsets[1:] - self.offsets[:-1]
