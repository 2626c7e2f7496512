"""Human-readable numbers."""

from __future__ import annotations

import math


def decibels(value: float, digits: int = 2) -> str:
    """Format a PSNR without its unit; NaN is a dash."""
    return "∞" if value == math.inf else "–" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """Format a signed difference in dB without its unit; NaN is a dash."""
    if math.isnan(value):
        return "–"
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def few_digits(value: float) -> str:
    """Format a positive number with one decimal below ten, and none from ten on."""
    return f"{value:.0f}" if value >= 10.0 else f"{value:.1f}"


def human_bytes(count: float) -> str:
    """Format a number of bytes in units of 1024.

    Example:
        >>> [human_bytes(count) for count in (0, 512, 240 * 1024, 2.1 * 1024**2)]
        ['0', '512 B', '240 KB', '2.1 MB']
    """
    if count < 0.5:
        return "0"
    if count < 1023.5:
        return f"{count:.0f} B"
    units = ["KB", "MB", "GB", "TB"]
    count /= 1024.0
    while count >= 1023.5 and len(units) > 1:
        count /= 1024.0
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 9.95 else f"{count:.0f} {units[0]}"


def duration(seconds: float) -> str:
    """Format seconds as a duration.

    Example:
        >>> [duration(seconds) for seconds in (12, 185, 3720)]
        ['12 s', '3 min 05 s', '1 h 02 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
