"""Digests of a scene's data, by which a resumed run recognises what it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nerfcl.scenes.scene import Scene, Views

Digest = dict[str, dict[str, Any]]

_PARTS = ("images", "poses", "intrinsics")


def digest_of(scene: Scene) -> Digest:
    """Compute the digest of a scene: for each split, the number of views and BLAKE2b hashes of its data.

    Example:
        >>> import nerfcl
        >>> digest = digest_of(nerfcl.load_scene("builtin", size=(16, 16)))
        >>> digest["test"]["views"], sorted(digest)
        (100, ['test', 'train', 'val'])
    """
    return {split: digest_of_views(getattr(scene, split)) for split in ("train", "val", "test")}


def digest_of_views(views: Views) -> dict[str, Any]:
    """Compute the digest of views: their number, and a hash each of images, poses and intrinsics."""
    return {"views": len(views), **{part: _hash(getattr(views, part)) for part in _PARTS}}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs between two digests, split by split; empty if nothing does."""
    said = []
    for split, present in now.items():
        past = before.get(split)
        if not isinstance(past, dict) or past == present:
            continue
        if past.get("views") != present["views"]:
            said.append(f"{present['views']} {split} views instead of {past.get('views')}")
        else:
            said.append(f"{split} " + ", ".join(part for part in _PARTS if past.get(part) != present[part]))
    return said


def _hash(values: Tensor) -> str:
    content = values.detach().cpu().contiguous()
    known = hashlib.blake2b(f"{tuple(content.shape)} {content.dtype} ".encode(), digest_size=16)
    known.update(content.numpy().data)
    return known.hexdigest()
