"""Cameras around the built-in scene.

Matrices are world from camera, 4x4, with OpenGL camera axes (+x right, +y up, -z forward) and world z up, as in the
NeRF synthetic set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CAMERA_DISTANCE = 4.03
CAMERA_ANGLE_X = 0.6911112070083618  # radians, the horizontal field of view of NeRF-synthetic
ELEVATION_RANGE = (5.0, 85.0)  # degrees, of random cameras
SPIRAL_TURNS = 2.5
SPIRAL_ELEVATIONS = (10.0, 70.0)  # degrees, of the first and the last frame


def hemisphere_cameras(count: int, seed: int) -> FloatArray:
    """Place random cameras, (count, 4, 4), uniform over the sphere within `ELEVATION_RANGE`, facing the origin."""
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    low, high = np.sin(np.radians(ELEVATION_RANGE))
    # Equal height intervals of a sphere have equal areas.
    height = rng.uniform(low, high, count)
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=1)
    return np.stack([camera_at(CAMERA_DISTANCE * direction) for direction in directions])


def spiral_cameras(places: FloatArray, count: int) -> FloatArray:
    """Place cameras, (N, 4, 4), on a rising spiral of `count` frames around the origin, facing it.

    `places` (N,) are frame numbers: 0 is the first frame, count - 1 the last, and 0.5 lies half-way between two.
    """
    share = places / (count - 1)
    azimuth = 2 * np.pi * SPIRAL_TURNS * share
    elevation = np.radians(np.interp(share, (0, 1), SPIRAL_ELEVATIONS))
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    return np.stack([camera_at(CAMERA_DISTANCE * direction) for direction in directions])


def camera_at(position: FloatArray) -> FloatArray:
    """Build the (4, 4) matrix of an upright camera at `position` (3,) that looks at the origin."""
    back = position / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return matrix
