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

CENTRE = torch.tensor([[0.5, 0.5]])

# A quarter turn to the left about world y: the camera looks along -x, its right is world -z.
QUARTER_TURN = torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.0, 1.0, 0.0, 4.0], [-1.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def one_ray(
    pose: Tensor, intrinsics: tuple[float, float, float, float], column: int, row: int, offsets: Tensor = CENTRE
) -> tuple[list[float], list[float]]:
    rays = pixel_rays(
        pose[None], torch.tensor([intrinsics], dtype=pose.dtype), torch.tensor([column]), torch.tensor([row]), offsets
    )
    assert len(rays) == 1
    return rays.origins[0].tolist(), rays.directions[0].tolist()


def project(pose: Tensor, intrinsics: Tensor, points: Tensor) -> Tensor:
    """World points (N, 3) -> pixel coordinates (N, 2), written from the textbook, apart from the code under test."""
    ones = torch.ones(len(points), 1, dtype=points.dtype)
    x, y, z, _ = (torch.linalg.inv(pose) @ torch.cat([points, ones], -1).T).unbind(0)
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


def test_centre_pixel_of_identity_pose_looks_along_minus_z() -> None:
    origin, direction = one_ray(torch.eye(4), (3.0, 3.0, 2.5, 2.5), 2, 2)
    assert origin == [0.0, 0.0, 0.0]
    assert direction == pytest.approx([0.0, 0.0, -1.0], abs=1e-6)


def test_corner_pixels_of_identity_pose() -> None:
    # 4x4 pixels, focal length 2: the centre of pixel (0, 0) is 1.5 pixels left of and above the principal point.
    intrinsics = (2.0, 2.0, 2.0, 2.0)
    length = math.sqrt(0.75**2 + 0.75**2 + 1.0)
    _, upper_left = one_ray(torch.eye(4), intrinsics, 0, 0)
    assert upper_left == pytest.approx([-0.75 / length, 0.75 / length, -1.0 / length], abs=1e-6)
    _, lower_right = one_ray(torch.eye(4), intrinsics, 3, 3)
    assert lower_right == pytest.approx([0.75 / length, -0.75 / length, -1.0 / length], abs=1e-6)


def test_columns_go_right_and_rows_go_down() -> None:
    _, right = one_ray(torch.eye(4), (2.0, 2.0, 2.0, 2.0), 3, 1, torch.tensor([[0.5, 1.0]]))
    assert right == pytest.approx([0.6, 0.0, -0.8], abs=1e-6)  # (3.5 - 2) / 2 = 0.75
    _, down = one_ray(torch.eye(4), (2.0, 2.0, 2.0, 2.0), 1, 3, torch.tensor([[1.0, 0.5]]))
    assert down == pytest.approx([0.0, -0.6, -0.8], abs=1e-6)


def test_focal_lengths_and_principal_point_belong_to_their_axes() -> None:
    # across = (1.5 - 1) / 2 = 0.25, up = (3 - 0.5) / 5 = 0.5
    _, direction = one_ray(torch.eye(4), (2.0, 5.0, 1.0, 3.0), 1, 0)
    length = math.sqrt(0.25**2 + 0.5**2 + 1.0)
    assert direction == pytest.approx([0.25 / length, 0.5 / length, -1.0 / length], abs=1e-6)


def test_rotated_and_moved_pose_by_hand() -> None:
    # across = (3.5 - 2.5) / 2 = 0.5, up = (2.5 - 1.5) / 4 = 0.25; forward is -x, right is -z, up is +y.
    origin, direction = one_ray(QUARTER_TURN, (2.0, 4.0, 2.5, 2.5), 3, 1)
    assert origin == [3.0, 4.0, 5.0]
    length = math.sqrt(1.0 + 0.5**2 + 0.25**2)
    assert direction == pytest.approx([-1.0 / length, 0.25 / length, -0.5 / length], abs=1e-6)


def test_an_offset_of_zero_goes_through_the_upper_left_corner() -> None:
    assert pixel_offsets(1).tolist() == [[0.5, 0.5]]
    _, direction = one_ray(torch.eye(4), (2.0, 2.0, 2.0, 2.0), 0, 0, torch.zeros(1, 2))
    assert direction == pytest.approx([-1 / math.sqrt(3), 1 / math.sqrt(3), -1 / math.sqrt(3)], abs=1e-6)


def test_each_pixel_has_its_own_pose_and_intrinsics() -> None:
    stack = torch.stack([torch.eye(4), QUARTER_TURN])
    intrinsics = torch.tensor([[3.0, 3.0, 2.5, 2.5], [2.0, 4.0, 2.5, 2.5]])
    rays = pixel_rays(stack, intrinsics, torch.tensor([2, 3]), torch.tensor([2, 1]), CENTRE)
    for index, (column, row) in enumerate(((2, 2), (3, 1))):
        origin, direction = one_ray(stack[index], tuple(intrinsics[index].tolist()), column, row)
        assert rays.origins[index].tolist() == origin
        assert rays.directions[index].tolist() == pytest.approx(direction, abs=1e-7)


def test_rays_of_a_pixel_lie_next_to_each_other() -> None:
    offsets = torch.tensor([[0.25, 0.25], [0.75, 0.5]])
    rays = pixel_rays(
        torch.eye(4).expand(2, 4, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(2, 4),
        torch.tensor([0, 10]), torch.tensor([0, 20]), offsets,
    )  # fmt: skip
    assert rays.per_pixel == 2
    slopes = (rays.directions[:, :2] / -rays.directions[:, 2:]).tolist()
    expected = [[0.25, -0.25], [0.75, -0.5], [10.25, -20.25], [10.75, -20.5]]
    assert [value for slope in slopes for value in slope] == pytest.approx([v for e in expected for v in e], rel=1e-5)


def test_camera_rays_go_row_by_row() -> None:
    camera = Camera(QUARTER_TURN, torch.tensor([2.0, 3.0, 1.5, 1.0]), width=3, height=2)
    rays = camera_rays(camera)
    assert len(rays) == 6
    places = [(column, row) for row in range(2) for column in range(3)]
    for index, (column, row) in enumerate(places):
        origin, direction = one_ray(QUARTER_TURN, (2.0, 3.0, 1.5, 1.0), column, row)
        assert rays.origins[index].tolist() == origin
        assert rays.directions[index].tolist() == pytest.approx(direction, abs=1e-7)


def test_camera_rays_with_several_rays_a_pixel_keep_pixels_together() -> None:
    camera = Camera(torch.eye(4), torch.tensor([2.0, 3.0, 1.5, 1.0]), width=3, height=2)
    rays = camera_rays(camera, per_pixel=4)
    assert (len(rays), rays.per_pixel) == (24, 4)
    pixels = project(torch.eye(4), camera.intrinsics, rays.origins + rays.directions).view(2, 3, 4, 2)
    inside = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    expected = [[[[c + x, r + y] for x, y in inside] for c in range(3)] for r in range(2)]
    torch.testing.assert_close(pixels, torch.tensor(expected), atol=1e-5, rtol=0.0)


def test_focal_from_angle_by_hand() -> None:
    assert focal_from_angle(math.pi / 2, 10) == pytest.approx(5.0)  # tan 45 degrees = 1
    assert focal_from_angle(2 * math.atan(0.25), 64) == pytest.approx(128.0)


def test_look_at_axes() -> None:
    pose = look_at(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    expected = [[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    torch.testing.assert_close(pose, torch.tensor(expected))


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


@given(poses())
def test_ray_through_the_principal_point_is_the_forward_axis(pose: Tensor) -> None:
    origin, direction = one_ray(pose, (7.0, 9.0, 4.5, 6.5), 4, 6)
    assert direction == pytest.approx((pose[:3, :3] @ torch.tensor([0.0, 0.0, -1.0]).double()).tolist(), abs=1e-9)
    assert origin == pose[:3, 3].tolist()


@given(poses(), st.integers(0, 19), st.integers(0, 14), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 50.0))
def test_projecting_a_point_of_a_ray_gives_back_its_pixel(
    pose: Tensor, column: int, row: int, x: float, y: float, distance: float
) -> None:
    intrinsics = torch.tensor([12.0, 17.0, 10.0, 7.0], dtype=torch.float64)
    origin, direction = one_ray(pose, (12.0, 17.0, 10.0, 7.0), column, row, torch.tensor([[x, y]], dtype=torch.float64))
    assert math.hypot(*direction) == pytest.approx(1.0, abs=1e-9)
    point = torch.tensor(origin, dtype=torch.float64) + distance * torch.tensor(direction, dtype=torch.float64)
    pixel = project(pose, intrinsics, point[None])[0].tolist()
    assert pixel == pytest.approx([column + x, row + y], abs=1e-6)


@given(st.sampled_from([1, 4, 9, 16, 25]))
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
    with pytest.raises(NerfclError, match=f"--rays-per-pixel {per_pixel}: must be a square"):
        pixel_offsets(per_pixel)
    with pytest.raises(NerfclError, match="square"):
        stratified_offsets(2, per_pixel, torch.Generator())
