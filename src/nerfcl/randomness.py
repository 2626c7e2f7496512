"""Seeded random number generators."""

from __future__ import annotations

import hashlib

import torch


def seeded(seed: int, purpose: str) -> torch.Generator:
    """Return a generator for one purpose, so that draws for different purposes do not affect each other."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
