"""Where random numbers come from."""

from __future__ import annotations

import hashlib

import torch


def seeded(seed: int, purpose: str) -> torch.Generator:
    """Return a generator that belongs to one purpose, so that strategies do not disturb each other's draws."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
