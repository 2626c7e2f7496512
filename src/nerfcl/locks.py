"""Locks of output folders, so that no two processes write to one at the same time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerfcl.errors import Argument, NerfclError

LOCK = ".lock"  # stays in the folder; it is the system's lock on it that counts, not its existence


@contextmanager
def locked(folder: Path, name: str = "out") -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing.

    The system frees the lock when its process ends, however it ends.

    Args:
        folder: folder to lock.
        name: name of the argument that chose it, for messages.

    Raises:
        NerfclError: another process holds the lock, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    path, place = folder / LOCK, Argument(name, str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, blocking=False)
        lock.acquire()
    except Timeout:
        raise NerfclError(
            place, f": is in use by {_owner(path)}; wait until that has ended, or choose another folder"
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise NerfclError(place, f": cannot be used ({reason}); choose another folder") from None
    try:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
