"""Tensors in few bytes, against the rounding that blocks of 64 values allow."""

from __future__ import annotations

import torch

from nerfcl.memory.quantisation import pack, packed_tensor, unpack, unpacked_bytes
from nerfcl.randomness import seeded


def test_packed_tensors_come_back_nearly_as_they_were() -> None:
    large = torch.randn(300, 1000, generator=seeded(0, "large"))
    large[100:200] = 0.0
    state = {
        "large": large,
        "small": torch.randn(7, 3),
        "seen": torch.rand(5, 5, 5) > 0.5,
        "age": torch.tensor(123_456_789),
        "none": torch.zeros(0, 3),
    }
    sizes = []
    for bits in (4, 6, 8):
        packed = pack(state, bits)
        sizes.append(len(packed))
        again = unpack(packed)
        assert again.keys() == state.keys()
        assert torch.equal(again["seen"], state["seen"])
        assert torch.equal(again["age"], state["age"])
        assert again["none"].shape == (0, 3)
        torch.testing.assert_close(again["small"], state["small"], rtol=1e-3, atol=1e-6)
        assert again["large"].shape == large.shape
        assert not again["large"][101:199].any(), "zero stays zero"
        kept = large != 0.0
        values, restored = large[kept], again["large"][kept]
        count = len(values) // 64 * 64
        blocks, errors = values[:count].view(-1, 64).abs().amax(1), (values - restored)[:count].view(-1, 64)
        step = blocks / (2 ** (bits - 1) - 1)
        assert (errors.abs().amax(1) <= 0.5 * step * 1.01 + 1e-3 * blocks).all()
    assert sizes == sorted(sizes)
    assert sizes[-1] < 200_000 * 1.1 + 2000, "zeros and scales cost next to nothing"


def test_bytes_come_back_from_a_checkpoints_tensor() -> None:
    for packed in (b"", b"\x00\xff\x07"):
        assert packed_tensor(packed).dtype == torch.uint8
        assert unpacked_bytes(packed_tensor(packed)) == packed
