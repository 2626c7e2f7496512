"""Renders views and scores them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nerfcl.metrics import image as metrics
from nerfcl.models.rendering.model import Model, render_image
from nerfcl.progress import Track, untracked
from nerfcl.scenes.scene import Views


@dataclass(frozen=True)
class Scores:
    """Quality of N rendered views.

    Attributes:
        psnr: N values in dB.
        ssim: N values, at most 1; empty if not asked for.
        images: the renderings asked for, by position: (H, W, 3) uint8.
    """

    psnr: list[float]
    ssim: list[float]
    images: dict[int, np.ndarray]

    @property
    def mean_psnr(self) -> float:
        """Mean over views of each view's PSNR; NaN without any."""
        return sum(self.psnr) / len(self.psnr) if self.psnr else math.nan


def evaluate(
    model: Model,
    views: Views,
    *,
    rays_per_pixel: int = 1,
    with_ssim: bool = True,
    keep_images: tuple[int, ...] | None = (),
    track: Track = untracked,
) -> Scores:
    """Renders every view and compares what would be saved as a PNG with the truth.

    Args:
        model: what renders.
        views: cameras and true images.
        rays_per_pixel: rays averaged over each pixel's area, a square number.
        with_ssim: whether to compute SSIM, too.
        keep_images: positions of the views whose renderings to return; None returns all.
        track: passes on what it is given to iterate over, and may show how far it has come.
    """
    psnr, ssim, images = [], [], {}
    for i in track(range(len(views)), "rendering views"):
        image = render_uint8(model, views, i, rays_per_pixel)
        truth = views.images[i].numpy()
        psnr.append(metrics.psnr(image, truth))
        if with_ssim:
            ssim.append(metrics.ssim(image, truth))
        if keep_images is None or i in keep_images:
            images[i] = image
    return Scores(psnr, ssim, images)


def render_uint8(model: Model, views: Views, index: int, rays_per_pixel: int = 1) -> np.ndarray:
    """One view as it would be saved: (H, W, 3) uint8."""
    rendering = render_image(model, views.camera(index), rays_per_pixel=rays_per_pixel)
    return metrics.to_uint8(rendering.rgb).cpu().numpy()
