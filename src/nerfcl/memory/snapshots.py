"""Frozen models in few bytes: what a strategy keeps of a model to ask it later."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.models.rendering.model import Model, Rendering
from nerfcl.scenes.cameras import pixel_offsets, pixel_rays
from nerfcl.streams.pixels import Pixels

BITS = 8
_BLOCK = 64  # values that share a scale
_LARGE = 2**14  # tensors of fewer values are kept in half precision


class Snapshot:
    """A model as it was, packed; beside its packed form there is a working copy while it is in use.

    Args:
        bits: of each value of the large tables, 4 to 8; see `pack`.
        rays_per_pixel: rays averaged over each pixel's area when it is asked.
        renew_every: of the models that are offered, every so many one is taken, the first one first.
    """

    def __init__(self, bits: int = BITS, rays_per_pixel: int = 1, renew_every: int = 1) -> None:
        check_bits(bits)
        if renew_every < 1:
            raise NerfclError(f"--renew-every {renew_every}: must be at least 1")
        self.bits, self._offsets, self._renew_every = bits, pixel_offsets(rays_per_pixel), renew_every
        self._offered = 0
        self._packed = b""
        self._model: Model | None = None

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._packed)

    @property
    def nbytes(self) -> int:
        """Bytes of its packed form; the working copy lasts only as long as it is asked."""
        return len(self._packed)

    def take(self, model: Model) -> None:
        """Keeps a model as it is now."""
        self._packed, self._model = pack(model.rendering_state(), self.bits), None

    def offer(self, model: Model) -> None:
        """Keeps a model as it is now, where it is time for a new one."""
        if self._offered % self._renew_every == 0:
            self.take(model)
        self._offered += 1

    def drop(self) -> None:
        """Keeps none, until the next one is taken."""
        self._packed, self._model = b"", None

    def unpack(self, like: Model) -> None:
        """Makes the working copy, if there is none.

        Args:
            like: a model of the same kind; not changed.
        """
        if self._packed and self._model is None:
            self._model = like.snapshot()
            self._model.load_rendering_state(unpack(self._packed))

    @torch.no_grad()
    def render(self, pixels: Pixels) -> Rendering:
        """What it sees through B pixels; their colours do not matter."""
        assert self._model is not None, "it must be unpacked first"
        rays = pixel_rays(pixels.poses, pixels.intrinsics, pixels.columns, pixels.rows, self._offsets)
        return self._model.render(rays)

    def colour(self, pixels: Pixels) -> tuple[Pixels, Tensor]:
        """B pixels in the colours that it sees through them, and the opacity (B,) along each."""
        seen = self.render(pixels)
        return replace(pixels, colours=seen.rgb.clamp(0.0, 1.0).cpu()), seen.opacity.cpu()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs; then it has to be unpacked again."""
        return {"packed": packed_tensor(self._packed), "offered": self._offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._packed, self._model = unpacked_bytes(state["packed"]), None
        self._offered = state["offered"]


def check_bits(bits: int) -> None:
    """Refuses numbers of bits that nothing is packed with.

    Raises:
        NerfclError: fewer than 4 or more than 8.
    """
    if not 4 <= bits <= 8:
        raise NerfclError(f"--snapshot-bits {bits}: must lie between 4 and 8")


def pack(state: Mapping[str, Tensor], bits: int) -> bytes:
    """Tensors in few bytes.

    What is not zero in large floating-point tensors is rounded to 2^bits - 1 evenly spaced values, between the largest
    of 64 neighbours and its negative (blockwise quantisation, as Dettmers et al. 2022); small ones are kept in half
    precision, others exactly. Then everything is compressed.

    Args:
        state: tensors by name.
        bits: of each value of large tensors, 2 to 8.
    """
    arrays: dict[str, Any] = {}
    for name, value in state.items():
        arrays |= {f"{name}/{part}": array for part, array in _narrow(value.cpu(), bits).items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return zlib.compress(file.getvalue(), 9)


def unpack(packed: bytes) -> dict[str, Tensor]:
    """The tensors that were packed; floating-point ones are float32 and nearly as they were."""
    with np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False) as file:
        parts: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            name, _, part = key.rpartition("/")
            parts.setdefault(name, {})[part] = file[key]
    return {name: _widen(each) for name, each in parts.items()}


def packed_tensor(packed: bytes) -> Tensor:
    """The bytes as a uint8 tensor, for checkpoints."""
    return torch.from_numpy(np.frombuffer(packed, dtype=np.uint8).copy())


def unpacked_bytes(tensor: Tensor) -> bytes:
    """The bytes that `packed_tensor` was given."""
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
    count = int(np.prod(shape))
    if "bits" in parts:
        return torch.from_numpy(np.unpackbits(parts["bits"], count=count).astype(bool)).view(shape)
    levels, scales = torch.from_numpy(parts["levels"]).float(), torch.from_numpy(parts["scales"]).float()
    held = torch.from_numpy(np.unpackbits(parts["held"], count=count).astype(bool))
    values = torch.zeros(count)
    values[held] = (levels * (scales / float(parts["most"]))).flatten()[: int(held.sum())]
    return values.view(shape)
