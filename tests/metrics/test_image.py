"""PSNR, SSIM and local contrast, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfcl.metrics.image import local_contrast, psnr, ssim, to_uint8
from support.pictures import noise


def ssim_by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, in every 11x11 window that lies inside the image, channel by channel."""
    distance = np.arange(-5, 6)
    weights = np.exp(-(distance[:, None] ** 2 + distance[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        for row in range(a.shape[0] - 10):
            for column in range(a.shape[1] - 10):
                x = a[row : row + 11, column : column + 11, channel].astype(np.float64)
                y = b[row : row + 11, column : column + 11, channel].astype(np.float64)
                mx, my = (weights * x).sum(), (weights * y).sum()
                vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                covariance = (weights * (x - mx) * (y - my)).sum()
                values.append((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_to_uint8_clips_and_rounds_to_the_nearest_level() -> None:
    values = torch.tensor([-0.5, 0.0, 0.49 / 255, 0.51 / 255, 127.4 / 255, 127.6 / 255, 1.0, 1.7])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 127, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 255.0), levels)


def test_psnr_by_hand() -> None:
    # Off by one everywhere: MSE 1, 20 log10(255) = 48.1308 dB. Off by 51 = 255 / 5: 20 log10(5) = 13.9794 dB.
    truth = np.full((2, 3, 3), 100, np.uint8)
    assert psnr(truth + np.uint8(1), truth) == pytest.approx(48.130804, abs=1e-5)
    assert psnr(truth + np.uint8(51), truth) == pytest.approx(13.979400, abs=1e-5)
    # A single number of 18 off by 6: MSE 36 / 18 = 2.
    one = truth.copy()
    one[1, 2, 0] = 106
    assert psnr(one, truth) == pytest.approx(48.130804 - 3.010300, abs=1e-5)


def test_psnr_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert psnr(black, white) == pytest.approx(0.0, abs=1e-12)
    assert psnr(white, black) == pytest.approx(0.0, abs=1e-12)


def test_psnr_of_equal_images_is_the_cap_and_above_the_smallest_difference() -> None:
    image = noise(64, 64, 0)
    other = image.copy()
    other[3, 4, 1] ^= 1
    assert psnr(image, image) == 100.0
    # One number of 12,288 off by one: 20 log10(255) + 10 log10(12288).
    assert psnr(other, image) == pytest.approx(48.130804 + 40.894812, abs=1e-4)


def test_ssim_follows_its_definition() -> None:
    truth = noise(13, 12, 2)
    assert ssim(truth, truth) == pytest.approx(1.0, abs=1e-12)
    near = np.clip(truth.astype(np.int64) + noise(13, 12, 3) // 8 - 16, 0, 255).astype(np.uint8)
    assert 0.5 < ssim(near, truth) < 0.9999
    assert ssim(near, truth) == pytest.approx(ssim_by_definition(near, truth), abs=1e-9)
    assert ssim(noise(13, 12, 4), truth) == pytest.approx(ssim_by_definition(noise(13, 12, 4), truth), abs=1e-9)


def test_local_contrast_is_the_deviation_of_a_pixels_neighbourhood() -> None:
    image = noise(5, 6)
    padded = np.pad(image / 255.0, ((1, 1), (1, 1), (0, 0)), mode="edge")
    expected = [[np.sqrt(padded[i : i + 3, j : j + 3].reshape(9, 3).var(0).mean()) for j in range(6)] for i in range(5)]
    found = local_contrast(torch.from_numpy(np.stack([image, np.full_like(image, 200)])))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert not found[1].any(), "a flat image has none"
    assert local_contrast(torch.zeros(2, 1, 1, 3, dtype=torch.uint8)).shape == (2, 1, 1)
