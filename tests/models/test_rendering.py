"""Whole images, of a model that colours each ray by its direction: pixels by hand, however few rays go at a time."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from nerfcl.models.rendering.model import Model, Rendering, render_image
from nerfcl.scenes.cameras import Rays
from nerfcl.scenes.scene import Views

INTRINSICS = (6.0, 5.0, 3.5, 2.0)  # fx, fy, cx, cy of an image of 7x5 pixels
HERE = torch.eye(4)
HERE[:3, 3] = torch.tensor([0.3, -2.0, 1.5])


class Directions(nn.Module):
    """Colour is the direction, depth the origin's z, opacity the direction's y; two samples on each ray."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.calls: list[int] = []

    def render(self, rays: Rays, generator: torch.Generator | None = None) -> Rendering:
        assert generator is None
        self.calls.append(len(rays))
        values = torch.cat([rays.directions, rays.origins[:, 2:], rays.directions[:, 1:2]], -1) * self.factor
        pixels = values.view(-1, rays.per_pixel, 5).mean(1)
        return Rendering(pixels[:, :3], pixels[:, 3], pixels[:, 4], samples=2 * len(rays))


def directions_by_hand(offsets: list[float]) -> np.ndarray:
    """(5, 7, 3) mean over points at these fractions of each pixel's width and height, of the directions to them."""
    fx, fy, cx, cy = INTRINSICS
    rows, columns = np.mgrid[:5, :7]
    points = [(x, y) for x in offsets for y in offsets]
    ahead = [np.stack([(columns + x - cx) / fx, (cy - rows - y) / fy, -np.ones((5, 7))], -1) for x, y in points]
    return np.mean([each / np.linalg.norm(each, axis=-1, keepdims=True) for each in ahead], 0)


@pytest.mark.parametrize(("center", "per_pixel", "offsets"), [(0.5, 1, [0.5]), (0.5, 4, [0.25, 0.75]), (0.0, 1, [0.0])])
@pytest.mark.parametrize("chunk", [1, 6, 13, 16_384])
def test_pixels_have_the_mean_of_their_rays_in_one_call_and_in_chunks(
    center: float, per_pixel: int, offsets: list[float], chunk: int
) -> None:
    model = Directions()
    views = Views(torch.zeros(1, 5, 7, 3, dtype=torch.uint8), HERE[None], torch.tensor([INTRINSICS]), ("a",))
    camera = views.with_pixel_center(center).camera(0)
    image = render_image(cast("Model", model), camera, rays_per_pixel=per_pixel, chunk=chunk)
    expected = directions_by_hand(offsets)
    np.testing.assert_allclose(image.rgb.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(image.opacity.numpy(), expected[..., 1], atol=1e-6)
    np.testing.assert_allclose(image.depth.numpy(), np.full((5, 7), 1.5), atol=1e-6)
    assert image.samples == 2 * sum(model.calls) == 2 * 35 * per_pixel
    assert max(model.calls) <= max(chunk, per_pixel)
    assert not image.rgb.requires_grad
