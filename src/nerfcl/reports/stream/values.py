"""Values, colours and texts to draw for the frames and chunks of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nerfcl.reports.style import MAP
from nerfcl.reports.text import decibels

Values = Sequence[float | None]  # PSNR in dB; None or NaN if there is none
Log = Sequence[tuple[int, Values]]  # in order, (chunks learned so far, PSNR of every train frame seen by then)
Chunks = Sequence[Values]  # for each chunk, the PSNR of each of its test views; empty if it has none
Rows = list[tuple[int, np.ndarray]]


def cleaned(values: Values) -> np.ndarray:
    """Convert values to (N,) float64, with NaN for None."""
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def tidied(logs: Mapping[str, Log]) -> dict[str, Rows]:
    """Convert logs to sorted arrays, without empty entries and with the last of several entries at one time."""
    runs = {}
    for name, rows in logs.items():
        kept = {chunks: cleaned(values) for chunks, values in rows if len(values) > 0 and chunks > 0}
        runs[name] = sorted(kept.items())
    return runs


def padded(values: np.ndarray, count: int) -> np.ndarray:
    """Extend (N,) values to (count,) with NaN."""
    return np.concatenate([values, np.full(count - len(values), np.nan)])


def block_edges(count: int, most: int) -> np.ndarray:
    """Divide `count` items into at most `most` blocks; return the B + 1 edges of the blocks."""
    blocks = min(count, most)
    return np.arange(blocks + 1) * count // blocks


def block_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average the values (N,) in each block between B + 1 edges, ignoring NaN; an empty block gives NaN."""
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges[:-1])
    counts = np.add.reduceat(known.astype(np.int64), edges[:-1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def mean_known(values: np.ndarray) -> float:
    """Average the values, ignoring NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def ceiling_of(values: Iterable[float]) -> float:
    """Return the upper end of a PSNR axis (dB): the next multiple of 5 above the finite values."""
    return max(5.0, 5.0 * math.ceil(max((value for value in values if math.isfinite(value)), default=5.0) / 5.0))


def learned_text(chunks: Sequence[np.ndarray], done: int) -> str:
    """State the mean PSNR of all test views of the first `done` chunks, given an (N,) array for each chunk."""
    learned = [values for values in chunks[: max(done, 0)] if len(values)]
    mean = mean_known(np.concatenate(learned)) if learned else math.nan
    if math.isnan(mean):
        return "nothing learned yet"
    return f"mean of all test views of chunks learned so far: {decibels(mean, 1)} dB"


def chunk_colour(index: int, count: int, learned: bool) -> str:
    """Return the colour of chunk `index` of `count` as "#rrggbb", pale if it was not learned yet."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # Spread over viridis, so that neighbours differ as well as early and late chunks.
    colour = to_hex(colormaps[MAP](0.9 * index / max(1, count - 1)))
    return colour if learned else _tint(colour, 0.78)


def _tint(colour: str, white: float) -> str:
    """Mix a colour with a fraction of white."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * white):02x}" for c in channels)


def round_numbers(count: int, most: int, *, first: bool = True) -> list[int]:
    """Choose tick numbers for `count` items: about `most` round ones at most, and the first if requested."""
    step = next(s for s in (m * 10**e for e in range(12) for m in (1, 2, 5)) if count / s <= most)
    if first and step == 2:
        return list(range(1, count + 1, 2))
    return sorted({*([1] if first else []), *range(step, count + 1, step)})
