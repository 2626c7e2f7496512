"""Atomic writing of files, reading of JSON, and file names."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError

MOST_JSON = 2**28  # bytes of a JSON file

_LONGEST = 64  # characters of a file's name that its temporary name repeats, so that it is never too long
_ASIDE = re.compile(r"\.(?P<stem>.*)\.(?P<pid>\d+)-[0-9a-f]{8}\.part(?P<suffix>.*)", re.DOTALL)


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with the same suffix; rename it to `path` on success, else remove it.

    Creates the parent folder if it is missing. The temporary file is this call's own: it is created empty under a new
    name, so that neither other processes nor a link planted there can interfere. File and folder are flushed to disk
    before and after the renaming, so that not even a power failure leaves half a file. Temporary files of `path` that
    killed processes left behind are removed.

    Raises:
        NerfclError: the file cannot be written; names it.
    """
    path = Path(path)
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        aside = _create_aside(path)
        yield aside
        _flush(aside)
        os.replace(aside, path)
        aside = None
        _flush(path.parent)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise NerfclError(f"{path}: cannot be written ({reason}); check the folder and the free disk space") from error
    finally:
        if aside is not None:
            with suppress(OSError):
                aside.unlink()


def is_aside(path: Path) -> bool:
    """Tell by its name whether a path is a temporary one of `written_aside`."""
    return _ASIDE.fullmatch(path.name) is not None


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


def read_json(path: Path) -> Any:
    """Read JSON from a file.

    Raises:
        FileNotFoundError: there is no such file.
        NerfclError: it cannot be read, or is not JSON; names it.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise NerfclError(f"{path}: is not a file; replace it by a JSON file")
        if path.stat().st_size > MOST_JSON:
            raise NerfclError(f"{path}: is larger than {MOST_JSON:,} bytes; make it smaller")
        return json.loads(path.read_text(encoding="utf-8"), parse_int=_parse_int)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NerfclError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except RecursionError:
        raise NerfclError(f"{path}: is nested too deeply; restore it from its source") from None
    except ValueError as error:
        raise NerfclError(f"{path}: is not valid JSON ({error}); restore it from its source") from None


def _parse_int(digits: str) -> int | float:
    """Read integers of more than 64 bits as floats: Python's own have no limit, and no arithmetic goes on with them."""
    number = float(digits)
    return number if abs(number) >= 2**63 else int(digits)


def as_file_name(text: str) -> str:
    """Convert text to a file name: keep letters, digits and "_.+-", and replace other runs of characters by "-".

    Example:
        >>> as_file_name("sector 1/10")
        'sector-1-10'
    """
    return re.sub(r"[^\w.+-]+", "-", text)


def _create_aside(path: Path) -> Path:
    name = f".{path.stem[:_LONGEST]}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}"
    aside = path.with_name(name)
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
    return aside


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of `path` whose processes have ended."""
    for name in os.listdir(path.parent):
        match = _ASIDE.fullmatch(name)
        of_path = match is not None and (match["stem"], match["suffix"]) == (path.stem[:_LONGEST], path.suffix)
        if match is not None and of_path and not _is_alive(int(match["pid"])):
            with suppress(OSError):
                path.with_name(name).unlink()


def _is_alive(pid: int) -> bool:
    """Tell whether a process of this machine may be alive; always True where that cannot be asked harmlessly."""
    if os.name != "posix" or pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows does not open folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if path.is_file():
            raise error
    finally:
        os.close(descriptor)
