"""Files appear whole or not at all; and their names."""

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
    """Give a temporary path beside `path`, with the same suffix; renamed to `path` on success, removed on failure.

    The folder is made where it is missing.

    Raises:
        NerfclError: the file cannot be written; names it.
    """
    path = Path(path)
    # One name for all tries: what a killed run left behind is overwritten by the next.
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise NerfclError(f"{path}: cannot be written ({reason}); check the folder and the space left on it") from error
    finally:
        if aside.is_file():
            aside.unlink()


def write_json(path: str | Path, value: object) -> None:
    """Write a value as indented JSON with a newline at the end.

    Raises:
        NerfclError: the file cannot be written, or the value holds NaN, infinity or something that is no JSON.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NerfclError(f"{path}: not written, its content is no JSON ({error})") from error
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def as_file_name(text: str) -> str:
    """Turn a text into a file's name: letters, digits and "_.+-" stay, and everything else becomes one "-".

    Example:
        >>> as_file_name("sector 1/10")
        'sector-1-10'
    """
    return re.sub(r"[^\w.+-]+", "-", text)
