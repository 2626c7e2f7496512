"""How every kernel is compiled, and blocks of their work."""

from __future__ import annotations

import sys
from typing import Any

from numba import njit


def _can_keep_compiled() -> bool:
    """Tell whether compiled kernels can be written to disk; say so if they cannot."""
    try:
        njit(cache=True)(_can_keep_compiled)
    except RuntimeError:
        print(
            "nerfcl: no folder to keep compiled kernels in can be written, so that every start takes longer; set "
            "NUMBA_CACHE_DIR to one",
            file=sys.stderr,
        )
        return False
    return True


OPTIONS: dict[str, Any] = {"nogil": True, "cache": _can_keep_compiled(), "error_model": "numpy"}


def blocks_of(count: int, size: int) -> int:
    """Number of blocks of at most this size."""
    return -(-count // size)
