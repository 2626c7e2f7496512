"""Random sampling of indices: by epochs, by weight, and from what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 32
_LARGEST_SEED = 2**62
_LARGEST_HYPERGEOMETRIC = 10**9  # limit of numpy


class EpochSampler:
    """Draws the indices below `total` without replacement, epoch after epoch, each epoch in a new random order.

    Args:
        total: number of indices, at least 1.
        generator: source of randomness.

    Example:
        >>> sampler = EpochSampler(4, torch.Generator().manual_seed(0))
        >>> sorted(sampler.next(4).tolist())
        [0, 1, 2, 3]
    """

    def __init__(self, total: int, generator: torch.Generator) -> None:
        self.generator = generator
        self._restart(total)

    def next(self, count: int) -> Tensor:
        """Draw the next (count,) indices; they may span epochs."""
        parts = []
        while count:
            if self._at == self.total:
                self._restart(self.total)
            if self._order is None:
                self._order = torch.randperm(
                    self.total, generator=torch.Generator().manual_seed(self._seed), dtype=torch.int32
                )
            part = self._order[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return torch.cat(parts).long()

    def state_dict(self) -> dict[str, Any]:
        """Return the current position and the seed of the order; the generator must be saved separately."""
        return {"total": self.total, "seed": self._seed, "at": self._at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the position is outside the epoch.
        """
        if not 0 <= state["at"] <= state["total"] or state["total"] < 1:
            raise ValueError(f"a sampler stands at {state['at']} of {state['total']}")
        self.total, self._seed, self._at, self._order = state["total"], state["seed"], state["at"], None

    def _restart(self, total: int) -> None:
        self.total, self._at, self._order = total, 0, None
        self._seed = int(torch.randint(_LARGEST_SEED, (), generator=self.generator))


def sample_by_weight(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw indices successively without replacement, each with probability ∝ weight among those left.

    Drawing with replacement and dropping repetitions gives the same distribution. Indices of weight zero come last, in
    random order. Costs one pass over block sums of the weights.

    Args:
        weights: (N,) non-negative, finite.
        count: number of draws, at most N.
        generator: source of randomness.

    Returns:
        (count,) distinct indices.
    """
    tries = _first_of_each(_draw_with_replacement(weights, count + count // 2 + 32, generator))[:count]
    missing = count - len(tries)
    if not missing:
        return tries
    # A few weights dominate. The other draws are the earliest of exponential arrival times with the weights as rates
    # (Efraimidis & Spirakis 2006).
    left = weights.float().clone()
    left[tries] = 0.0
    times = torch.empty(len(left)).exponential_(generator=generator) / left
    largest = torch.finfo(torch.float32).max
    times.clamp_(max=0.49 * largest)  # for tiny weights they would be infinite, like those of indices already drawn
    unlikely = left <= 0.0
    times[unlikely] = largest * (0.5 + 0.5 * torch.rand(int(unlikely.sum()), generator=generator))
    times[tries] = torch.inf
    return torch.cat([tries, times.topk(missing, largest=False).indices])


def sample_others(total: int, taken: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw indices below `total` uniformly without replacement, excluding those in `taken`.

    Args:
        total: number of indices.
        taken: (T,) distinct indices to exclude.
        count: number of draws, at most `total - T`.
        generator: source of randomness.

    Returns:
        (count,) distinct indices.
    """
    if 2 * (len(taken) + count) < total:
        tries = torch.randint(total, (2 * count + 32,), generator=generator)
        drawn = _first_of_each(torch.cat([taken, tries]))[len(taken) :][:count]
        if len(drawn) == count:
            return drawn
    free = torch.ones(total, dtype=torch.bool)
    free[taken] = False
    rest = free.nonzero()[:, 0]
    return rest[torch.randperm(len(rest), generator=generator)[:count]]


def sample_hypergeometric(arriving: int, before: int, count: int, generator: torch.Generator) -> int:
    """Draw how many of `count` items, sampled without replacement from `before` and `arriving` ones, are arriving."""
    seed = int(torch.randint(_LARGEST_SEED, (), generator=generator))
    rng = np.random.default_rng(seed)
    if max(arriving, before) < _LARGEST_HYPERGEOMETRIC:
        return int(rng.hypergeometric(arriving, before, count))
    return int((rng.choice(arriving + before, count, replace=False, shuffle=False) < arriving).sum())


def sample_by_region(losses: Tensor, side: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw pixels of each image, from side x side regions in proportion to each region's mean loss.

    Args:
        losses: (N, H, W), non-negative.
        side: regions along each image side.
        count: pixels per image; fewer if a region has fewer than its quota.
        generator: source of randomness.

    Returns:
        Flat indices of distinct pixels, image by image.
    """
    height, width = losses.shape[1:]
    row = torch.arange(height) * side // height
    column = torch.arange(width) * side // width
    region = (row[:, None] * side + column).flatten()  # (H * W,)
    drawn = []
    for number, image in enumerate(losses.flatten(1)):
        means = torch.stack([image[region == r].mean() for r in range(side * side)])
        parts = means / means.sum() if means.sum() > 0.0 else torch.full_like(means, 1.0 / len(means))
        until = (parts.cumsum(0) / parts.sum() * count).round().long()  # rounding the sums keeps their total
        for r, rays in enumerate(until.diff(prepend=until.new_zeros(1)).tolist()):
            inside = (region == r).nonzero()[:, 0]
            drawn.append(number * height * width + inside[torch.randperm(len(inside), generator=generator)[:rays]])
    return torch.cat(drawn)


def _draw_with_replacement(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw up to (count,) indices with probability ∝ weight: first a block, then an index within it."""
    blocks = torch.nn.functional.pad(weights, (0, -len(weights) % _BLOCK)).view(-1, _BLOCK)
    sums = blocks.sum(1, dtype=torch.float32).double()
    until = sums.cumsum(0)  # (blocks,)
    drawn = torch.rand(count, generator=generator, dtype=torch.float64) * until[-1]
    block = torch.searchsorted(until, drawn, right=True).clamp_(max=len(until) - 1)
    values = blocks.index_select(0, block).float()  # (count, _BLOCK)
    steps = values.cumsum(1)
    # The two sums round differently, so the draw is taken as a fraction of its block.
    fraction = ((drawn - (until[block] - sums[block])) / sums[block]).clamp_(0.0, 1.0).float()
    place = torch.searchsorted(steps, (fraction * steps[:, -1])[:, None], right=True)[:, 0].clamp_(max=_BLOCK - 1)
    possible = values.gather(1, place[:, None])[:, 0] > 0.0
    return (block * _BLOCK + place)[possible]


def _first_of_each(values: Tensor) -> Tensor:
    """Drop repetitions, keeping the order of first appearance."""
    ordered, places = values.sort(stable=True)
    first = torch.ones(len(values), dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return values[places[first].sort().values]
