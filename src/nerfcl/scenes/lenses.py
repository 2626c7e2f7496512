"""Lenses that are not pinholes: where the light of a point in the image came from.

A row of intrinsics is fx, fy, cx, cy in pixels. A row of a lens goes on with its `Lens` and `COEFFICIENTS`, 20 numbers
together. Coordinates in the image are (x, y) = ((column - cx) / fx, (row - cy) / fy), x to the right and y downwards;
the camera looks along +z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import torch
from torch import Tensor

PINHOLE = 4  # numbers in a row of a pinhole's intrinsics
COEFFICIENTS = (
    *("k1", "k2", "k3", "k4", "k5", "k6"),  # radial: 1 + k1 r^2 + k2 r^4 + ...
    *("d1", "d2", "d3"),  # divided by 1 + d1 r^2 + d2 r^4 + d3 r^6
    *("p1", "p2"),  # tangential
    *("s1", "s2", "s3", "s4"),  # thin prism: s1 r^2 + s2 r^4 along x, s3 and s4 along y
)
ROW = PINHOLE + 1 + len(COEFFICIENTS)

_ITERATIONS = 12


class Lens(IntEnum):
    """Kinds of lenses, named as in COLMAP and OpenCV.

    The first three distort a point w of length r into w (1 + k1 r^2 + ...) / (1 + d1 r^2 + ...) + tangential + prism
    (Brown 1971; OpenCV, "Camera calibration and 3D reconstruction").
    """

    PERSPECTIVE = 0
    """w = (x / z, y / z)."""
    FISHEYE = 1
    """w has the direction of (x, y), and as length the angle to the axis (Kannala & Brandt 2006)."""
    FISHEYE_RADIAL_FIRST = 2
    """The same, but tangential and prism terms are those of the radially distorted point (Project Aria)."""
    FOV = 3
    """Tangent of the distorted radius, with k1 the angle of view (Devernay & Faugeras 2001)."""
    DIVISION = 4
    """Undistorted by a division by 1 + k1 r^2 (Fitzgibbon 2001)."""
    EUCM = 5
    """Enhanced unified camera model with alpha = k1 and beta = k2 (Khomutenko et al. 2016)."""
    EQUIRECTANGULAR = 6
    """x is the longitude, y the latitude, in radians."""


def lens_row(pinhole: Sequence[float], lens: Lens, coefficients: Mapping[str, float]) -> list[float]:
    """Return a row of intrinsics.

    Args:
        pinhole: fx, fy, cx, cy in pixels.
        lens: kind of the lens.
        coefficients: some of the `COEFFICIENTS` by name; others are 0.
    """
    unknown = coefficients.keys() - set(COEFFICIENTS)
    if unknown:
        raise KeyError(f"{', '.join(sorted(unknown))}: not among the coefficients {', '.join(COEFFICIENTS)}")
    return [*pinhole, float(lens), *(float(coefficients.get(name, 0.0)) for name in COEFFICIENTS)]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate rows of intrinsics; if any has a lens, pinholes become perspective lenses without distortion.

    Args:
        parts: each (N_i, 4) or (N_i, 20).
    """
    width = max(part.shape[1] for part in parts)
    if any(part.shape[1] < width for part in parts):
        parts = [torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts]
    return torch.cat(list(parts))


def covers(row: Sequence[float], size: tuple[int, int]) -> bool:
    """Tell whether a lens has a direction for every point on the border of an image of this (width, height)."""
    width, height = size
    along = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
    zero, one = torch.zeros_like(along), torch.ones_like(along)
    x, y = torch.cat([along, along, zero, one]) * width, torch.cat([zero, one, along, along]) * height
    lens = torch.tensor([list(row)], dtype=torch.float64)
    fx, fy, cx, cy = lens[:, :PINHOLE, None].unbind(1)
    return bool(torch.isfinite(lens_directions((x - cx) / fx, (y - cy) / fy, lens[:, PINHOLE:])).all())


def lens_directions(x: Tensor, y: Tensor, lenses: Tensor) -> Tensor:
    """Find the directions in which points of images lie.

    Args:
        x: (N, S) coordinates in the image, to the right.
        y: (N, S) coordinates in the image, downwards.
        lenses: (N, 16) kind and coefficients of each row.

    Returns:
        (N, S, 3) unit vectors: right, down, forward. NaN where no direction is distorted to the point.
    """
    directions = torch.empty(*x.shape, 3, dtype=x.dtype, device=x.device)
    kinds = lenses[:, 0]
    for kind in kinds.unique().tolist():
        chosen = kinds == kind
        points = torch.stack([x[chosen], y[chosen]], -1)  # (M, S, 2)
        directions[chosen] = _DIRECTIONS[Lens(int(kind))](points, lenses[chosen, 1:])
    return directions


def distort(points: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Distort points by radial, tangential and prism terms.

    Args:
        points: (N, S, 2).
        coefficients: (N, 15), see `COEFFICIENTS`.

    Returns:
        (N, S, 2) distorted points, and their derivatives by the points (N, S, 2, 2).
    """
    radial, divisor, tangential, prism = coefficients[:, None].split((6, 3, 2, 4), -1)  # (N, 1, C) each
    r2 = points.square().sum(-1, keepdim=True)  # (N, S, 1)
    above, above_slope = _polynomial(r2, radial)
    below, below_slope = _polynomial(r2, divisor)
    across = tangential.flip(-1)  # (N, 1, 2)
    # distorted = points * factor + r^2 (straight + curved r^2), since 2 p1 x y + p2 (r^2 + 2 x^2) is such a sum
    factor = above / below + 2.0 * (points * across).sum(-1, keepdim=True)  # (N, S, 1)
    straight, curved = across + prism[..., ::2], prism[..., 1::2]  # (N, 1, 2)
    distorted = points * factor + r2 * (straight + curved * r2)
    slope = (above_slope - above / below * below_slope) / below  # of above / below by r^2
    by_factor = 2.0 * (points * slope + across)  # (N, S, 2)
    by_r2 = 2.0 * (straight + 2.0 * curved * r2)  # (N, S, 2)
    derivative = points[..., :, None] * by_factor[..., None, :] + by_r2[..., :, None] * points[..., None, :]
    derivative.diagonal(dim1=-2, dim2=-1).add_(factor)
    return distorted, derivative


def undistort(distorted: Tensor, coefficients: Tensor) -> Tensor:
    """Invert `distort` by Newton's method, from the distorted points.

    Args:
        distorted: (N, S, 2).
        coefficients: (N, 15), see `COEFFICIENTS`.

    Returns:
        (N, S, 2); NaN where there is no inverse near the distorted point.
    """
    points, close = distorted, 1e-3 * torch.finfo(distorted.dtype).eps ** 0.5
    change = determinant = torch.zeros_like(distorted[..., 0])
    for _ in range(_ITERATIONS):
        now, derivative = distort(points, coefficients)
        off = distorted - now
        (a, b), (c, d) = (row.unbind(-1) for row in derivative.unbind(-2))
        determinant = a * d - b * c
        adjugate = torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2))
        step = (adjugate @ off[..., None])[..., 0] / determinant[..., None]
        points, change = points + step, step.abs().amax(-1)
        if change.amax() <= close:  # the error after a step is about its square
            break
    found = (change <= 1e-3) & (determinant > 0.0)  # else it lies beyond the fold of the polynomial
    return torch.where(found[..., None], points, torch.nan)


def _polynomial(r2: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate 1 + f1 r^2 + f2 r^4 + ... and its derivative by r^2; r2 is (N, S, 1), factors are (N, 1, F)."""
    used = factors.flatten(0, 1).any(0).tolist()
    value, slope = torch.zeros_like(r2), torch.zeros_like(r2)
    for index in range(max((i + 1 for i, is_used in enumerate(used) if is_used), default=0) - 1, -1, -1):
        slope = slope * r2 + value
        value = value * r2 + factors[..., index, None]
    return 1.0 + value * r2, slope * r2 + value


def _perspective(points: Tensor, coefficients: Tensor) -> Tensor:
    return _forward(undistort(points, coefficients), 1.0)


def _fisheye(points: Tensor, coefficients: Tensor) -> Tensor:
    return _at_angle(undistort(points, coefficients))


def _fisheye_radial_first(points: Tensor, coefficients: Tensor) -> Tensor:
    radial, rest = coefficients.clone(), coefficients.clone()
    radial[:, 9:], rest[:, :9] = 0.0, 0.0
    return _at_angle(undistort(undistort(points, rest), radial))


def _fov(points: Tensor, coefficients: Tensor) -> Tensor:
    angle = coefficients[:, None, :1]  # (N, 1, 1)
    radius = points.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    beyond = radius * angle >= torch.pi / 2
    factor = torch.tan(radius * angle) / (2.0 * torch.tan(0.5 * angle) * radius)
    return _forward(points * torch.where(beyond, torch.nan, factor), 1.0)


def _division(points: Tensor, coefficients: Tensor) -> Tensor:
    return _forward(points, 1.0 + coefficients[:, None, :1] * points.square().sum(-1, keepdim=True))


def _eucm(points: Tensor, coefficients: Tensor) -> Tensor:
    alpha, beta = coefficients[:, None, :2].split(1, -1)  # (N, 1, 1) each
    r2 = beta * points.square().sum(-1, keepdim=True)
    root = torch.sqrt(1.0 - (2.0 * alpha - 1.0) * r2)  # NaN outside the image
    return _forward(points, (1.0 - alpha * alpha * r2) / (alpha * root + 1.0 - alpha))


def _equirectangular(points: Tensor, coefficients: Tensor) -> Tensor:
    del coefficients
    longitude, latitude = points.unbind(-1)
    flat = torch.cos(latitude)
    return torch.stack([flat * torch.sin(longitude), torch.sin(latitude), flat * torch.cos(longitude)], -1)


def _forward(points: Tensor, depth: Tensor | float) -> Tensor:
    depth = torch.as_tensor(depth, dtype=points.dtype, device=points.device).expand_as(points[..., :1])
    return torch.nn.functional.normalize(torch.cat([points, depth], -1), dim=-1)


def _at_angle(points: Tensor) -> Tensor:
    angle = points.norm(dim=-1, keepdim=True)
    return torch.cat([points * torch.sinc(angle / torch.pi), torch.cos(angle)], -1)


_DIRECTIONS = {
    Lens.PERSPECTIVE: _perspective,
    Lens.FISHEYE: _fisheye,
    Lens.FISHEYE_RADIAL_FIRST: _fisheye_radial_first,
    Lens.FOV: _fov,
    Lens.DIVISION: _division,
    Lens.EUCM: _eucm,
    Lens.EQUIRECTANGULAR: _equirectangular,
}
