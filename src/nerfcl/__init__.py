"""Radiance fields that keep learning without forgetting."""

from __future__ import annotations

import os

# The pools of torch and numba would otherwise spin against each other between their turns on the same cores; this
# must be set before either is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
