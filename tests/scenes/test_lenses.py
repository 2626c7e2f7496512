"""Directions of distorted pixels, against COLMAP's and OpenCV's."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.scenes.cameras import Camera, camera_rays, look_at
from nerfcl.scenes.lenses import COEFFICIENTS, Lens, covers, distort, lens_directions, lens_row, undistort
from nerfcl.scenes.scene import Views

SIZE = (400, 300)
PINHOLE = (300.0, 310.0, 205.0, 148.0)
PERSPECTIVE = {"k1": 0.1, "k2": -0.05, "p1": 0.002, "p2": -0.003}
FISHEYE = {"k1": 0.05, "k2": -0.01, "k3": 0.002, "k4": -0.0005}
PRISM = {"p1": 0.002, "p2": -0.003, "s1": 0.003, "s3": -0.002}

# COLMAP's model, its parameters after fx, fy, cx, cy, and ours.
MODELS = [
    ("OPENCV", (0.1, -0.05, 0.002, -0.003), Lens.PERSPECTIVE, PERSPECTIVE),
    (
        "FULL_OPENCV",
        (0.3, -0.05, 0.002, -0.003, 0.01, 0.2, 0.03, 0.01),
        Lens.PERSPECTIVE,
        {**PERSPECTIVE, "k1": 0.3, "k3": 0.01, "d1": 0.2, "d2": 0.03, "d3": 0.01},
    ),
    ("FISHEYE", (), Lens.FISHEYE, {}),
    ("OPENCV_FISHEYE", tuple(FISHEYE.values()), Lens.FISHEYE, FISHEYE),
    (
        "THIN_PRISM_FISHEYE",
        (0.05, -0.01, 0.002, -0.003, 0.002, -0.0005, 0.003, -0.002),
        Lens.FISHEYE,
        {**FISHEYE, **PRISM},
    ),
    (
        "RAD_TAN_THIN_PRISM_FISHEYE",
        (*FISHEYE.values(), 1e-4, 2e-4, -0.003, 0.002, 0.003, 0.001, -0.002, 5e-4),
        Lens.FISHEYE_RADIAL_FIRST,
        {**FISHEYE, **PRISM, "k5": 1e-4, "k6": 2e-4, "s2": 0.001, "s4": 5e-4},
    ),
    ("FOV", (0.9,), Lens.FOV, {"k1": 0.9}),
    ("DIVISION", (-0.2,), Lens.DIVISION, {"k1": -0.2}),
    ("EUCM", (0.6, 1.1), Lens.EUCM, {"k1": 0.6, "k2": 1.1}),
]


def directions(row: list[float], pixels: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """Directions (N, 3) of pixels (N, 2): right, down, forward."""
    lens = torch.tensor([row], dtype=torch.float64)
    points = (torch.from_numpy(pixels) - lens[:, 2:4]) / lens[:, :2]
    x, y = points.to(dtype).T[:, None]
    return lens_directions(x, y, lens[:, 4:].to(dtype))[0].numpy()


def random_pixels(count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform([0, 0], SIZE, (count, 2))


@pytest.mark.parametrize(("name", "parameters", "lens", "coefficients"), MODELS, ids=[model[0] for model in MODELS])
def test_every_model_of_colmap(
    name: str, parameters: tuple[float, ...], lens: Lens, coefficients: dict[str, float]
) -> None:
    camera = pycolmap.Camera(model=name, width=SIZE[0], height=SIZE[1], params=[*PINHOLE, *parameters])
    expected = np.array([camera.cam_ray_from_img(pixel) for pixel in random_pixels()])
    row = lens_row(PINHOLE, lens, coefficients)
    assert np.abs(directions(row, random_pixels()) - expected).max() < 1e-10
    assert np.abs(directions(row, random_pixels(), torch.float32) - expected).max() < 3e-7


def test_a_whole_sphere() -> None:
    camera = pycolmap.Camera(model="EQUIRECTANGULAR", width=SIZE[0], height=SIZE[1], params=[*SIZE])
    expected = np.array([camera.cam_ray_from_img(pixel) for pixel in random_pixels()])
    pinhole = (SIZE[0] / (2 * math.pi), SIZE[1] / math.pi, SIZE[0] / 2, SIZE[1] / 2)
    assert np.abs(directions(lens_row(pinhole, Lens.EQUIRECTANGULAR, {}), random_pixels()) - expected).max() < 1e-7


def test_rays_of_distorted_views_are_those_that_opencv_projects_to_the_pixels() -> None:
    pose = look_at(torch.tensor([1.0, -4.0, 2.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    camera = Camera(pose, torch.tensor(lens_row(PINHOLE, Lens.PERSPECTIVE, PERSPECTIVE)), 20, 15)
    rays = camera_rays(camera)
    points = (rays.origins + 3.0 * rays.directions).double().numpy()
    fx, fy, cx, cy = PINHOLE
    to_camera = np.diag([1.0, -1.0, -1.0]) @ pose[:3, :3].double().numpy().T
    projected, _ = cv2.projectPoints(
        points, to_camera, -to_camera @ pose[:3, 3].double().numpy(),
        np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), np.array([0.1, -0.05, 0.002, -0.003]),
    )  # fmt: skip
    columns, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(15) + 0.5)
    assert np.abs(projected[:, 0] - np.stack([columns, rows], -1).reshape(-1, 2)).max() < 1e-3
    assert torch.allclose(rays.directions.norm(dim=1), torch.ones(300))


def test_opencv_undistorts_a_fisheye_image_to_the_same_points() -> None:
    fx, fy, cx, cy = PINHOLE
    matrix, factors = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), np.array(list(FISHEYE.values()))
    expected = cv2.fisheye.undistortPoints(random_pixels()[:, None], matrix, factors)[:, 0]
    found = directions(lens_row(PINHOLE, Lens.FISHEYE, FISHEYE), random_pixels())
    assert np.abs(found[:, :2] / found[:, 2:] - expected).max() < 1e-6


SMALL = st.floats(-0.02, 0.02)  # with points of this size, there is no fold before them


@given(st.tuples(*[SMALL] * len(COEFFICIENTS)), st.tuples(*[st.floats(-0.6, 0.6)] * 2))
def test_undistorting_inverts_distorting(numbers: tuple[float, ...], point: tuple[float, float]) -> None:
    coefficients = torch.tensor([numbers], dtype=torch.float64)
    points = torch.tensor([[point]], dtype=torch.float64)
    distorted, derivative = distort(points, coefficients)
    torch.testing.assert_close(undistort(distorted, coefficients), points, atol=1e-9, rtol=0.0)
    by_autograd = torch.autograd.functional.jacobian(lambda p: distort(p, coefficients)[0].sum((0, 1)), points)
    assert isinstance(by_autograd, torch.Tensor)
    torch.testing.assert_close(derivative[0, 0], by_autograd[:, 0, 0])


def test_points_beyond_the_fold_have_no_direction() -> None:
    # x (1 - x^2) is at most 2 / sqrt(27) = 0.385, at x = 1 / sqrt(3).
    row = lens_row((100.0, 100.0, 100.0, 50.0), Lens.PERSPECTIVE, {"k1": -1.0})
    found = directions(row, np.array([[138.4, 50.0], [138.6, 50.0]]))
    assert found[0, 0] / found[0, 2] == pytest.approx(1 / math.sqrt(3), abs=0.03)
    assert np.isnan(found[1]).all()
    assert not covers(row, (200, 100))
    assert covers(lens_row(PINHOLE, Lens.PERSPECTIVE, PERSPECTIVE), SIZE)


def test_each_row_has_its_own_lens() -> None:
    rows = [lens_row(PINHOLE, lens, coefficients) for _, _, lens, coefficients in MODELS]
    pixels = random_pixels(len(rows))
    lenses = torch.tensor(rows, dtype=torch.float64)
    points = (torch.from_numpy(pixels) - lenses[:, 2:4]) / lenses[:, :2]
    together = lens_directions(points[:, :1], points[:, 1:], lenses[:, 4:])[:, 0].numpy()
    apart = np.concatenate([directions(row, pixel[None]) for row, pixel in zip(rows, pixels, strict=True)])
    assert np.abs(together - apart).max() < 1e-12


def test_pixel_corners_of_a_lens_are_half_a_pixel_from_the_centres() -> None:
    row = torch.tensor([lens_row(PINHOLE, Lens.PERSPECTIVE, PERSPECTIVE)])
    views = Views(torch.zeros(1, 12, 12, 3, dtype=torch.uint8), torch.eye(4)[None], row, ("",))
    moved = views.with_pixel_center(0.0).intrinsics
    assert (moved - row)[0, :4].tolist() == [0.0, 0.0, 0.5, 0.5]
    assert torch.equal(moved[:, 4:], row[:, 4:])


def test_unknown_coefficients_are_refused() -> None:
    with pytest.raises(KeyError, match="k9"):
        lens_row(PINHOLE, Lens.PERSPECTIVE, {"k9": 1.0})
