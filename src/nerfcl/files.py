"""Atomic writing of files, and file names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerfcl.errors import NerfclError


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with the same suffix; rename it to `path` on success, else remove it.

    Creates the parent folder if it is missing.

    Raises:
        NerfclError: the file cannot be written; names it.
    """
    path = Path(path)
    # A fixed name: the next run overwrites what a killed one left behind.
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise NerfclError(f"{path}: cannot be written ({reason}); check the folder and the free disk space") from error
    finally:
        if aside.is_file():
            aside.unlink()


def write_json(path: str | Path, value: object) -> None:
    """Write a value as indented JSON with a trailing newline.

    Raises:
        NerfclError: the file cannot be written, or the value contains NaN, infinity or anything else JSON cannot hold.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NerfclError(f"{path}: cannot be written, its content is not valid JSON ({error})") from error
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def as_file_name(text: str) -> str:
    """Convert text to a file name: keep letters, digits and "_.+-", and replace other runs of characters by "-".

    Example:
        >>> as_file_name("sector 1/10")
        'sector-1-10'
    """
    return re.sub(r"[^\w.+-]+", "-", text)
