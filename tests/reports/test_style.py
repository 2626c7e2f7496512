"""Numbers as text for people, and labels that keep apart."""

from __future__ import annotations

import math

import pytest

from nerfcl.reports.style import kept_apart
from nerfcl.reports.text import decibels, duration, few_digits, human_bytes, signed


def test_bytes_have_units_of_1024_and_few_digits() -> None:
    texts = {0: "0", 1: "1 B", 1023: "1023 B", 1024: "1.0 KB", 245760: "240 KB", 1024**2 - 1: "1.0 MB"}
    texts |= {2202009: "2.1 MB", 10.2 * 1024**2: "10 MB", 3 * 1024**3: "3.0 GB", 5000 * 1024**4: "5000 TB"}
    assert {count: human_bytes(count) for count in texts} == texts


def test_durations_have_two_units_at_most() -> None:
    seconds = {
        0.2: "0 s",
        59.4: "59 s",
        59.6: "1 min 00 s",
        185: "3 min 05 s",
        3599.7: "1 h 00 min",
        3720: "1 h 02 min",
    }
    assert {value: duration(value) for value in seconds} == seconds


def test_values_and_differences_in_decibels() -> None:
    values = (30.126, math.inf, math.nan)
    assert [decibels(value) for value in values] == ["30.13", "∞", "–"]
    assert decibels(30.126, 1) == "30.1"
    assert [signed(value) for value in (1.0, -3.5, -0.004, math.nan)] == ["+1.00", "−3.50", "0.00", "–"]
    assert [few_digits(value) for value in (9.04, 31.4)] == ["9.0", "31"]


def test_labels_are_kept_apart() -> None:
    assert kept_apart([5.0, 1.0], 1.0, 0.0, 10.0) == [5.0, 1.0]
    # Three wishes at one place spread around it; their order stays.
    assert kept_apart([5.0, 5.0, 5.2], 1.0, 0.0, 10.0) == pytest.approx([5.0667 - 1.0, 5.0667, 5.0667 + 1.0], abs=1e-3)
    # At the upper end they are pushed down, and push on those below.
    assert kept_apart([10.0, 10.0, 8.2], 1.0, 0.0, 10.0) == pytest.approx([9.0, 10.0, 8.0])
