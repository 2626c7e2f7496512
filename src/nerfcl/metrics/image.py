"""Image quality and contrast, computed from 8-bit colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_BEST_PSNR = 100.0


def to_uint8(image: Tensor) -> Tensor:
    """Clip colours to [0, 1] and round them to 8 bits."""
    return (image.clamp(0.0, 1.0) * 255.0).round().byte()


def psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio, 20 log10(255) - 10 log10(MSE), in dB.

    Higher is better. Capped at 100 dB, so that a mean over views stays finite if two images are equal.

    Args:
        prediction: uint8 image.
        truth: uint8 image of the same shape.
    """
    error = float(np.mean((prediction.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return min(_BEST_PSNR, 20.0 * math.log10(255.0) - 10.0 * math.log10(max(error, 1e-9)))


def ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Compute the structural similarity (Wang et al. 2004), averaged over channels; higher is better, at most 1.

    The window is a Gaussian with a standard deviation of 1.5 pixels, as in the paper.

    Args:
        prediction: (H, W, 3) uint8, at least 11 pixels wide and high.
        truth: uint8 image of the same shape.
    """
    from skimage.metrics import structural_similarity

    similarity: Any = structural_similarity(
        truth,
        prediction,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def local_contrast(images: Tensor) -> Tensor:
    """Compute the root mean square contrast of every pixel's 3x3 neighbourhood (Peli 1990); edges are replicated.

    Args:
        images: (N, H, W, 3) uint8.

    Returns:
        (N, H, W) float32 in [0, 0.5]: the standard deviation of colours in [0, 1], a root mean square over channels.
    """
    return torch.stack([_contrast(image) for image in images])  # one by one, to bound memory


def _contrast(image: Tensor) -> Tensor:
    colours = image.permute(2, 0, 1)[None].double() / 255.0  # (1, 3, H, W)
    padded = functional.pad(colours, (1, 1, 1, 1), mode="replicate")
    mean, square = (functional.avg_pool2d(values, 3, 1) for values in (padded, padded.square()))
    return (square - mean.square()).clamp(min=0.0).mean(1)[0].sqrt().float()  # (H, W)
