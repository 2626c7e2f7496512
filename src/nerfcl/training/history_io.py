"""Histories as plain values and tensors, for checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcl.training.history import History, Validation


def history_to_plain(history: History) -> dict[str, Any]:
    """Convert a history to plain values and tensors."""
    return {
        **vars(history),
        "validation": [(validation.at, validation.psnr) for validation in history.validation],
        "frames": [(at, torch.from_numpy(image)) for at, image in history.frames],
        "renderings": [{i: torch.from_numpy(image) for i, image in images.items()} for images in history.renderings],
    }


def history_from_plain(content: dict[str, Any]) -> History:
    """Restore what `history_to_plain` returned.

    Raises:
        KeyError, TypeError, ValueError: it is incomplete, or its parts do not fit together; says which.
    """
    for field in dataclasses.fields(History):
        if not _CHECKS[field.name](content[field.name]):
            raise ValueError(f"the history's '{field.name}'")
    tests = len(content["tested"])
    for name, lengths in {"R": [tests], "psnr": [tests], "ssim": [0, tests], "renderings": [0, tests]}.items():
        if len(content[name]) not in lengths:
            raise ValueError(f"the length of the history's '{name}'")
    if any(len(means) != len(groups) for means, groups in zip(content["R"], content["psnr"], strict=True)):
        raise ValueError("the lengths of rows in the history")
    return History(
        **{
            **content,
            "validation": [Validation(at, psnr) for at, psnr in content["validation"]],
            "frames": [(at, np.asarray(image)) for at, image in content["frames"]],
            "renderings": [{i: np.asarray(image) for i, image in images.items()} for images in content["renderings"]],
        }
    )


Check = Callable[[Any], bool]


_MOST = 2**63  # bounds integers: Python's own have no limit, and no arithmetic goes on with one beyond a float


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and (isinstance(value, float) or abs(value) < _MOST)


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _MOST


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.dim() == 3 and value.shape[2] == 3


def _is_list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_pair_of(first: Check, second: Check) -> Check:
    return lambda value: isinstance(value, tuple | list) and len(value) == 2 and first(value[0]) and second(value[1])


def _has_images(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value)) and all(map(_is_image, value.values()))


_ROWS = _is_list_of(_is_list_of(_is_number))
_CHECKS: dict[str, Check] = {
    "R": _ROWS,
    "tested": _is_list_of(_is_count),
    "psnr": _is_list_of(_ROWS),
    "ssim": _is_list_of(_ROWS),
    "renderings": _is_list_of(_has_images),
    "validation": _is_list_of(_is_pair_of(_is_amount, _ROWS)),
    "seen": _is_list_of(_is_pair_of(_is_count, _is_list_of(_is_number))),
    "frames": _is_list_of(_is_pair_of(_is_amount, _is_image)),
    "steps": _is_count,
    "training": _is_amount,
    "evaluation": _is_amount,
    "compilation": _is_amount,
    "memory_bytes": _is_count,
}
