"""Rays of pixels, worked out by hand and against a projection written apart from the code."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.scenes.cameras import (
    Camera,
    camera_rays,
    focal_from_angle,
    look_at,
    pixel_offsets,
    pixel_rays,
    stratified_offsets,
)

# A quarter turn to the left about world y: the camera looks along -x, its right is world -z.
QUARTER_TURN = torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.0, 1.0, 0.0, 4.0], [-1.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def project(pose: Tensor, intrinsics: Tensor, points: Tensor) -> Tensor:
    """World points (N, 3) -> pixel coordinates (N, 2), as textbooks have it; all must lie before the camera."""
    ones = torch.ones(len(points), 1, dtype=points.dtype)
    x, y, z, _ = (torch.linalg.inv(pose) @ torch.cat([points, ones], -1).T).unbind(0)
    assert (z < 0.0).all()
    fx, fy, cx, cy = intrinsics.tolist()
    return torch.stack([cx + fx * x / -z, cy - fy * y / -z], -1)


@st.composite
def poses(draw: st.DrawFn) -> Tensor:
    """Random rotations (from quaternions) and translations, float64."""
    numbers = st.floats(-1.0, 1.0)
    w, x, y, z = draw(st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: sum(v * v for v in q) > 0.01))
    length = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    pose[:3, 3] = torch.tensor(draw(st.tuples(*[st.floats(-10.0, 10.0)] * 3)), dtype=torch.float64)
    return pose


@pytest.mark.parametrize(
    ("pose", "intrinsics", "pixel", "offset", "direction"),
    [
        pytest.param(torch.eye(4), (3.0, 3.0, 2.5, 2.5), (2, 2), (0.5, 0.5), (0.0, 0.0, -1.0), id="middle"),
        # The centre of pixel (0, 0) is 1.5 pixels left of and above the principal point.
        pytest.param(torch.eye(4), (2.0, 2.0, 2.0, 2.0), (0, 0), (0.5, 0.5), (-0.75, 0.75, -1.0), id="upper left"),
        pytest.param(torch.eye(4), (2.0, 2.0, 2.0, 2.0), (3, 3), (0.5, 0.5), (0.75, -0.75, -1.0), id="lower right"),
        pytest.param(torch.eye(4), (2.0, 2.0, 2.0, 2.0), (3, 1), (0.5, 1.0), (0.6, 0.0, -0.8), id="columns go right"),
        pytest.param(torch.eye(4), (2.0, 2.0, 2.0, 2.0), (1, 3), (1.0, 0.5), (0.0, -0.6, -0.8), id="rows go down"),
        pytest.param(torch.eye(4), (2.0, 2.0, 2.0, 2.0), (0, 0), (0.0, 0.0), (-1.0, 1.0, -1.0), id="corner of a pixel"),
        # Across (1.5 - 1) / 2, up (3 - 0.5) / 5.
        pytest.param(torch.eye(4), (2.0, 5.0, 1.0, 3.0), (1, 0), (0.5, 0.5), (0.25, 0.5, -1.0), id="each axis its own"),
        # Across (3.5 - 2.5) / 2, up (2.5 - 1.5) / 4; forward is -x, right is -z, up is +y.
        pytest.param(QUARTER_TURN, (2.0, 4.0, 2.5, 2.5), (3, 1), (0.5, 0.5), (-1.0, 0.25, -0.5), id="turned"),
    ],
)
def test_ray_of_a_pixel_by_hand(
    pose: Tensor,
    intrinsics: tuple[float, ...],
    pixel: tuple[int, int],
    offset: tuple[float, float],
    direction: tuple[float, float, float],
) -> None:
    column, row = (torch.tensor([value]) for value in pixel)
    rays = pixel_rays(pose[None], torch.tensor([intrinsics]), column, row, torch.tensor([offset]))
    assert rays.origins.tolist() == [pose[:3, 3].tolist()]
    expected = [value / math.hypot(*direction) for value in direction]
    assert rays.directions[0].tolist() == pytest.approx(expected, abs=1e-6)


@given(poses(), st.integers(0, 19), st.integers(0, 14), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 50.0))
def test_projecting_a_point_of_a_ray_gives_back_its_pixel(
    pose: Tensor, column: int, row: int, x: float, y: float, distance: float
) -> None:
    intrinsics = torch.tensor([12.0, 17.0, 10.0, 7.0], dtype=torch.float64)
    offset = torch.tensor([[x, y]], dtype=torch.float64)
    rays = pixel_rays(pose[None], intrinsics[None], torch.tensor([column]), torch.tensor([row]), offset)
    assert rays.origins[0].tolist() == pose[:3, 3].tolist()
    assert float(rays.directions.norm()) == pytest.approx(1.0, abs=1e-9)
    seen_at = project(pose, intrinsics, rays.origins + distance * rays.directions)[0].tolist()
    assert seen_at == pytest.approx([column + x, row + y], abs=1e-6)


def test_each_pixel_has_its_own_pose_and_intrinsics_and_its_rays_are_consecutive() -> None:
    stack = torch.stack([torch.eye(4), QUARTER_TURN])
    intrinsics = torch.tensor([[3.0, 3.0, 2.5, 2.5], [2.0, 4.0, 2.5, 2.5]])
    offsets = torch.tensor([[0.25, 0.25], [0.75, 0.5]])
    rays = pixel_rays(stack, intrinsics, torch.tensor([2, 30]), torch.tensor([4, 10]), offsets)
    assert (len(rays), rays.per_pixel) == (4, 2)
    points = (rays.origins + rays.directions).view(2, 2, 3)
    seen_at = torch.stack([project(stack[n], intrinsics[n], points[n]) for n in range(2)])
    expected = torch.tensor([[[2.25, 4.25], [2.75, 4.5]], [[30.25, 10.25], [30.75, 10.5]]])
    torch.testing.assert_close(seen_at, expected, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(
    ("per_pixel", "inside"),
    [(1, [[0.5, 0.5]]), (4, [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])],
)
def test_rays_of_a_camera_go_row_by_row_and_keep_pixels_together(per_pixel: int, inside: list[list[float]]) -> None:
    camera = Camera(QUARTER_TURN, torch.tensor([2.0, 3.0, 1.5, 1.0]), width=3, height=2)
    rays = camera_rays(camera, per_pixel=per_pixel)
    assert (len(rays), rays.per_pixel) == (6 * per_pixel, per_pixel)
    seen_at = project(QUARTER_TURN, camera.intrinsics, rays.origins + rays.directions)
    expected = [[c + x, r + y] for r in range(2) for c in range(3) for x, y in inside]
    torch.testing.assert_close(seen_at, torch.tensor(expected), atol=1e-5, rtol=0.0)


def test_focal_from_angle_by_hand() -> None:
    assert focal_from_angle(math.pi / 2, 10) == pytest.approx(5.0)  # tan 45 degrees = 1
    assert focal_from_angle(2 * math.atan(0.25), 64) == pytest.approx(128.0)


def test_look_at_from_above_is_a_rotation_that_sees_its_target_in_the_middle() -> None:
    position, target = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([0.5, 0.0, 0.2]).double()
    pose = look_at(position, target, torch.tensor([0.0, 0.0, 1.0]).double())
    torch.testing.assert_close(pose[:3, :3].T @ pose[:3, :3], torch.eye(3).double())
    assert torch.linalg.det(pose).item() == pytest.approx(1.0)
    intrinsics = torch.tensor([5.0, 5.0, 4.0, 3.0]).double()
    assert project(pose, intrinsics, target[None])[0].tolist() == pytest.approx([4.0, 3.0])
    above = project(pose, intrinsics, target[None] + torch.tensor([0.0, 0.0, 0.1]).double())[0].tolist()
    assert above[0] == pytest.approx(4.0)
    assert above[1] < 3.0  # row 0 is the top


@pytest.mark.parametrize("per_pixel", [1, 4, 9, 25])
def test_regular_offsets_are_the_middles_of_their_cells(per_pixel: int) -> None:
    side = math.isqrt(per_pixel)
    expected = [
        [(2 * column + 1) / (2 * side), (2 * row + 1) / (2 * side)] for row in range(side) for column in range(side)
    ]
    torch.testing.assert_close(pixel_offsets(per_pixel), torch.tensor(expected))


@given(st.sampled_from([4, 9, 16]), st.integers(0, 2**31))
def test_stratified_offsets_have_one_point_in_each_cell(per_pixel: int, seed: int) -> None:
    side = math.isqrt(per_pixel)
    offsets = stratified_offsets(30, per_pixel, torch.Generator().manual_seed(seed))
    assert offsets.shape == (30, per_pixel, 2)
    inside = offsets * side
    cells = inside.floor().long()
    number = torch.arange(per_pixel)
    expected = torch.stack([number % side, number // side], -1).expand(30, -1, -1)
    # A jitter next to 1 may round up to its cell's far border.
    assert ((cells == expected) | (inside == expected + 1)).all()
    assert (inside - cells).std() > 0.2  # spread over the cell: uniform has 0.29


def test_stratified_offsets_of_single_rays_are_the_centre_and_draw_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert (stratified_offsets(5, 1, generator) == 0.5).all()
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("per_pixel", [-4, 0, 2, 3, 8])
def test_rays_per_pixel_must_be_a_square_number(per_pixel: int) -> None:
    with pytest.raises(NerfclError, match=f"rays_per_pixel={per_pixel}: must be a square"):
        pixel_offsets(per_pixel)
    with pytest.raises(NerfclError, match="square"):
        stratified_offsets(2, per_pixel, torch.Generator())
