"""What is known of the frames and chunks of a stream -> values, colours and texts to draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nerfcl.reports.style import MAP
from nerfcl.reports.text import decibels

Values = Sequence[float | None]  # PSNR in dB; None or NaN where there is none
Log = Sequence[tuple[int, Values]]  # (chunks learned so far, PSNR of every frame seen by then)
Chunks = Sequence[Values]  # per chunk the PSNR of each of its test views
Rows = list[tuple[int, np.ndarray]]


def cleaned(values: Values) -> np.ndarray:
    """Convert values to (N,) float64, NaN where there is none."""
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def tidied(logs: Mapping[str, Log]) -> dict[str, Rows]:
    """Convert logs to arrays, in order; an entry without frames says nothing, of two at one moment the last counts."""
    runs = {}
    for name, rows in logs.items():
        kept = {chunks: cleaned(values) for chunks, values in rows if len(values) > 0 and chunks > 0}
        runs[name] = sorted(kept.items())
    return runs


def padded(values: np.ndarray, count: int) -> np.ndarray:
    """Extend (N,) values to (count,) with NaN."""
    return np.concatenate([values, np.full(count - len(values), np.nan)])


def block_edges(count: int, most: int) -> np.ndarray:
    """Divide `count` things into at most `most` blocks; return (B + 1,) where they begin, and where the last ends."""
    blocks = min(count, most)
    return np.arange(blocks + 1) * count // blocks


def block_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average the (N,) values that there are between B + 1 edges, to (B,); NaN where there are none."""
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges[:-1])
    counts = np.add.reduceat(known.astype(np.int64), edges[:-1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def mean_known(values: np.ndarray) -> float:
    """Average the values that there are; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def ceiling_of(values: Iterable[float]) -> float:
    """Choose the upper end of an axis of PSNR (dB): the next multiple of 5."""
    return max(5.0, 5.0 * math.ceil(max((value for value in values if math.isfinite(value)), default=5.0) / 5.0))


def learned_text(chunks: Sequence[np.ndarray], done: int) -> str:
    """Say the mean PSNR of all test views of the first `done` chunks; each chunk has an (N,) array of them."""
    learned = [values for values in chunks[: max(done, 0)] if len(values)]
    mean = mean_known(np.concatenate(learned)) if learned else math.nan
    if math.isnan(mean):
        return "nothing learned yet"
    return f"mean of all test views of chunks learned so far: {decibels(mean, 1)} dB"


def chunk_colour(index: int, count: int, learned: bool) -> str:
    """Return the colour of chunk `index` of `count` as "#rrggbb", pale where it was not learned yet."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # Through viridis: early and late differ, and neighbours too.
    colour = to_hex(colormaps[MAP](0.9 * index / max(1, count - 1)))
    return colour if learned else _tint(colour, 0.78)


def _tint(colour: str, white: float) -> str:
    """Mix a colour with so much white."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * white):02x}" for c in channels)


def round_numbers(count: int, most: int, *, first: bool = True) -> list[int]:
    """Choose numbers to write beside `count` things: at most about `most` round ones, and the first if wanted."""
    step = next(s for s in (m * 10**e for e in range(12) for m in (1, 2, 5)) if count / s <= most)
    if first and step == 2:
        return list(range(1, count + 1, 2))
    return sorted({*([1] if first else []), *range(step, count + 1, step)})
