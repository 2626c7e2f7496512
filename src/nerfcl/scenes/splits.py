"""Which views of a capture without splits are for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SPLITS = ("train", "val", "test")
FEWEST = 4  # views of which every split has at least one
_EVERY = 8
_PLACES = {0: "test", 3: "val"}  # 4 would leave the left side of LLFF's "fern" without validation views


def split_of(index: int) -> str:
    """Name the split of a view by its place in the sorted capture.

    Views 0, 8, 16, ... are test views, as is customary (LLFF); 3, 11, 19, ... are validation views.
    """
    return _PLACES.get(index % _EVERY, "train")


def without_validation(train: Sequence[T]) -> tuple[list[T], list[T]]:
    """Take validation views from train views: the fourth of every eight, or the last one of fewer.

    Returns:
        Train and validation views; a single view is both.
    """
    chosen = {i for i in range(len(train)) if split_of(i) == "val"} or {len(train) - 1}
    rest = [view for i, view in enumerate(train) if i not in chosen]
    return rest or list(train), [train[i] for i in sorted(chosen)]
