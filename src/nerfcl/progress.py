"""Progress of long loops, independent of how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Iterates over a sequence and may show progress."""

    def __call__(self, items: Sequence[T], what: str, /) -> Iterable[T]: ...


def untracked(items: Sequence[T], what: str, /) -> Iterable[T]:
    """Iterate over a sequence without showing progress."""
    del what
    return items
