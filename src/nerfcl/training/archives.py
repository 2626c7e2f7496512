"""Reading of files that `torch.save` wrote, with nothing believed unchecked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import NerfclError


def read_tensors(path: Path, what: str) -> Any:
    """Read tensors and plain values, without executing code from the file.

    The archive's checksums are compared, and tensors must lie within the data that the file holds, so that reading
    takes little more memory than the file is long.

    Args:
        path: an existing file.
        what: what it should be, for error messages; what to do if it is not.

    Raises:
        NerfclError: the file cannot be read, is damaged, or is not such a file; names it.
    """
    try:
        if not path.is_file():  # a pipe would block
            raise NerfclError(f"{path}: is not a file; it should be {what}")
        with path.open("rb") as file:
            _check_archive(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
        for tensor in tensors_in(content):
            if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
                raise ValueError("a tensor is larger than its data")
    except NerfclError:
        raise
    except PermissionError as error:
        raise NerfclError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except (Exception, RecursionError):  # reading an arbitrary file may raise anything
        raise NerfclError(f"{path}: is damaged, or is not {what}") from None
    return content


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in nested dicts, lists and tuples."""
    left, visited = [value], set()
    while left:
        part = left.pop()
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, Mapping | list | tuple) and id(part) not in visited:
            visited.add(id(part))  # a crafted file may nest a list in itself
            left.extend(part.values() if isinstance(part, Mapping) else part)


def _check_archive(file: Any) -> None:
    """Compare the checksum of every part; `torch.load` does not.

    Raises:
        zipfile.BadZipFile, ValueError: the archive is damaged, or compressed, which `torch.save` never does.
    """
    with zipfile.ZipFile(file) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("a part is compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} differs")
