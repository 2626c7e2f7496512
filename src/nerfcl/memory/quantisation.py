"""Packing of tensors into few bytes: blockwise quantisation and compression."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

BITS = 8
_BLOCK = 64  # values that share a scale
_MOST_BYTES = 2**30  # of unpacked tensors
_LARGE = 2**14  # values; smaller tensors are kept in half precision


def pack(state: Mapping[str, Tensor], bits: int) -> bytes:
    """Pack tensors into few bytes.

    Nonzero values of large floating-point tensors are quantised in blocks of 64 to 2^bits - 1 evenly spaced levels
    between plus and minus the largest magnitude (blockwise quantisation, Dettmers et al. 2022). Small floating-point
    tensors are kept in half precision, others exactly. The result is compressed.

    Args:
        state: tensors by name.
        bits: bits per value of large tensors, 2 to 8.

    Example:
        >>> table = torch.linspace(-1.0, 1.0, 20_000)
        >>> packed = pack({"table": table}, bits=8)
        >>> len(packed) < 4 * len(table), bool((unpack(packed)["table"] - table).abs().max() < 0.01)
        (True, True)
    """
    arrays: dict[str, Any] = {}
    for name, value in state.items():
        arrays |= {f"{name}/{part}": array for part, array in _narrow(value.cpu(), bits).items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return zlib.compress(file.getvalue(), 9)


def unpack(packed: bytes) -> dict[str, Tensor]:
    """Unpack what `pack` returned; floating-point tensors become float32, up to quantisation error.

    Raises:
        ValueError: it is damaged, or takes more than 2^30 bytes.
    """
    inflater = zlib.decompressobj()
    try:
        archive = inflater.decompress(packed, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError("packed tensors are truncated or too large")
    with np.load(io.BytesIO(archive), allow_pickle=False) as file:
        parts: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            name, _, part = key.rpartition("/")
            parts.setdefault(name, {})[part] = file[key]
    return {name: _widen(each) for name, each in parts.items()}


def packed_tensor(packed: bytes) -> Tensor:
    """Convert bytes to a uint8 tensor, for checkpoints."""
    return torch.from_numpy(np.frombuffer(packed, dtype=np.uint8).copy())


def unpacked_bytes(tensor: Tensor) -> bytes:
    """Convert the tensor that `packed_tensor` returned to bytes."""
    return tensor.numpy().tobytes()


def _narrow(value: Tensor, bits: int) -> dict[str, np.ndarray]:
    shape = np.array(value.shape, dtype=np.int64)
    if value.dtype == torch.bool:
        return {"bits": np.packbits(value.numpy()), "shape": shape}
    if not value.is_floating_point():
        return {"exact": value.numpy()}
    if value.numel() < _LARGE:
        return {"half": value.half().numpy()}
    held = value.flatten() != 0.0
    values = value.flatten()[held]
    blocks = torch.nn.functional.pad(values, (0, -len(values) % _BLOCK)).view(-1, _BLOCK)
    scales = blocks.abs().amax(1, keepdim=True).clamp(max=torch.finfo(torch.float16).max).half()
    most = 2 ** (bits - 1) - 1
    levels = (blocks / scales.float().clamp(min=1e-12) * most).round().clamp(-most, most)
    return {
        "levels": levels.to(torch.int8).numpy(),
        "scales": scales.numpy(),
        "most": np.array(most),
        "held": np.packbits(held.numpy()),
        "shape": shape,
    }


def _widen(parts: dict[str, np.ndarray]) -> Tensor:
    if "exact" in parts:
        return torch.from_numpy(parts["exact"])
    if "half" in parts:
        return torch.from_numpy(parts["half"]).float()
    shape = parts["shape"].tolist()
    count = math.prod(shape)
    if not 0 <= count <= _MOST_BYTES:
        raise ValueError("packed tensors are too large")
    if "bits" in parts:
        return torch.from_numpy(np.unpackbits(parts["bits"], count=count).astype(bool)).view(shape)
    levels, scales = torch.from_numpy(parts["levels"]).float(), torch.from_numpy(parts["scales"]).float()
    held = torch.from_numpy(np.unpackbits(parts["held"], count=count).astype(bool))
    values = torch.zeros(count)
    values[held] = (levels * (scales / float(parts["most"]))).flatten()[: int(held.sum())]
    return values.view(shape)
