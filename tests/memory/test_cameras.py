"""Cameras of frames that something is kept of: counted bytes, renumbering, and pixels drawn from them."""

from __future__ import annotations

import pytest
import torch

from nerfcl.memory.cameras import Cameras, bytes_per_camera
from nerfcl.memory.pose_mixture import PoseMixture
from nerfcl.randomness import seeded
from nerfcl.streams.pixels import pixels_at
from support.learning import same
from support.scenes import numbered_views, with_lens


def two_sizes() -> Cameras:
    """Views 0 to 2 of 4x3 pixels, which came at step 5, and views 3 and 4 of 2x2 pixels, which came at step 9."""
    cameras = Cameras()
    assert cameras.add(numbered_views(3, width=4, height=3), now=5) == 0
    assert cameras.add(numbered_views(2, first=3, width=2, height=2), now=9) == 3
    return cameras


def test_a_camera_takes_76_bytes_whatever_its_images() -> None:
    assert Cameras().nbytes == 0
    # A pose of 3x4 and four intrinsics in float32; width, height and time of arrival in int32.
    assert two_sizes().nbytes == 5 * (12 * 4 + 4 * 4 + 2 * 4 + 4) == 5 * bytes_per_camera(4)


def test_a_camera_with_a_lens_takes_140_bytes_and_pinholes_beside_it_have_no_distortion() -> None:
    cameras, twin = Cameras(), Cameras()
    cameras.add(numbered_views(1))
    cameras.add(with_lens(numbered_views(2, first=1), k1=0.3))
    assert cameras.nbytes == 3 * 140 == 3 * cameras.bytes_each == 3 * bytes_per_camera(20)
    pixels = cameras.pixels(torch.tensor([0, 2]), torch.tensor([5, 6]), torch.rand(2, 3), torch.tensor([0, 1]))
    assert torch.equal(pixels.intrinsics[:, :4], numbered_views(3).intrinsics[[0, 2]])
    assert [row.nonzero().flatten().tolist() for row in pixels.intrinsics[:, 4:]] == [[], [1]]
    new = pixels_at(numbered_views(1), torch.tensor([3]))
    assert new.with_past(pixels).intrinsics.shape == (3, 20)
    twin.load_state_dict(cameras.state_dict())
    assert same(twin.state_dict(), cameras.state_dict())


def test_a_mixture_keeps_the_mean_pinhole_and_the_lens() -> None:
    mixture = PoseMixture()
    mixture.add(with_lens(numbered_views(3), k1=0.3))
    drawn = mixture.sample_pixels(4, seeded(0, "draw")).intrinsics
    assert drawn[:, 0].tolist() == [101.0] * 4
    assert drawn[:, 4:].sum().item() == pytest.approx(4 * 0.3)
    assert mixture.nbytes == 4 * (3 * (1 + 9 + 45) + 20 + 2)


def test_cameras_that_are_not_used_are_dropped_and_the_others_renumbered() -> None:
    cameras = two_sizes()
    assert cameras.drop_unused(torch.tensor([4, 1, 4, 0])).tolist() == [2, 1, 2, 0]
    assert cameras.poses[:, 0, 3].tolist() == [0.0, 1.0, 4.0]
    assert cameras.intrinsics[:, 0].tolist() == [100.0, 101.0, 104.0]
    assert cameras.sizes.tolist() == [[4, 3], [4, 3], [2, 2]]
    assert cameras.born.tolist() == [5, 5, 9]


def test_pixels_have_the_rows_and_columns_of_their_own_frames_size() -> None:
    pixels = two_sizes().pixels(torch.tensor([1, 4]), torch.tensor([7, 3]), torch.rand(2, 3), torch.tensor([70, 30]))
    assert list(zip(pixels.rows.tolist(), pixels.columns.tolist(), strict=True)) == [(1, 3), (1, 1)]
    assert torch.equal(pixels.poses, numbered_views(5).poses[[1, 4]])
    assert torch.equal(pixels.intrinsics, numbered_views(5).intrinsics[[1, 4]])
    assert (pixels.indices.tolist(), pixels.new) == ([70, 30], 0)


def test_sampled_pixels_are_uniform_over_frames_and_then_over_their_pixels() -> None:
    drawn = two_sizes().sample_pixels(30_000, seeded(0, "draw"))
    assert drawn.new == 0
    assert not drawn.colours.any()
    frames = drawn.poses[:, 0, 3].long()
    for frame, width, height in ((0, 4, 3), (2, 4, 3), (4, 2, 2)):
        mine = frames == frame
        counts = torch.bincount(drawn.rows[mine] * width + drawn.columns[mine])
        assert len(counts) == width * height
        expected = 30_000 / 5 / (width * height)
        assert ((counts - expected).abs() < 5.0 * expected**0.5).all()


def test_cameras_come_back_from_their_state() -> None:
    cameras, twin = two_sizes(), Cameras()
    twin.load_state_dict({**cameras.state_dict(), "more": torch.ones(2)})
    assert same(twin.state_dict(), cameras.state_dict())
