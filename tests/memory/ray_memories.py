"""Memories of rays: what they hold, checked against where it came from, and teachers whose losses are known."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from nerfcl.config.configurations import ConfigurationText
from nerfcl.memory.draw import DRAWS
from nerfcl.memory.fill import FILLS, Teacher, TeacherOutput
from nerfcl.memory.rays import RayMemory, RayMemorySettings
from nerfcl.serialisation import from_plain, to_plain
from nerfcl.streams.pixels import Pixels
from support.scenes import numbered_views

DURING_TRAINING = [name for name, policy in FILLS.items() if policy.during_training]
WHEN_OVER = [name for name, policy in FILLS.items() if not policy.during_training]
WITH_LOSSES = [{"fill": "topk"}, *({"draw": name} for name, policy in DRAWS.items() if policy.needs_losses)]

Ray = tuple[int, int, int]  # view, row, column


def ray_memory(rays: int | None, seed: int = 0, **settings: Any) -> RayMemory:
    return RayMemory(RayMemorySettings(rays=rays, **settings), torch.Generator().manual_seed(seed))


def teacher_with(losses: Tensor) -> Teacher:
    """A teacher that gives these losses by place, and colours whose red is the place."""

    def teach(indices: Tensor) -> TeacherOutput:
        colours = torch.stack([indices, torch.full_like(indices, 7), torch.full_like(indices, 9)], -1)
        return TeacherOutput(colours.byte(), losses.flatten()[indices])

    return teach


def levels(count: int, seed: int = 0) -> Tensor:
    """Different losses in random order that bfloat16 holds exactly, so that there are no ties."""
    assert count < 256
    return (torch.randperm(count, generator=torch.Generator().manual_seed(seed)) + 1) / 256.0


def check_plain(settings: RayMemorySettings, text: str) -> None:
    """Settings survive plain values, and are those of the strategy that is written so in a comparison."""
    assert from_plain(RayMemorySettings, json.loads(json.dumps(to_plain(settings)))) == settings
    configuration, _ = ConfigurationText.parse(text).build({})
    assert to_plain(configuration.strategy)["memory"] == to_plain(settings)


def held(memory: RayMemory) -> list[Ray]:
    """The rays that a memory of `numbered_views` holds: each once, beside its own camera."""
    state = memory.state_dict()
    frames, rays = state["frames"].long(), state["colours"].long()
    width = state["sizes"][frames][:, 0].long()
    assert torch.equal(state["poses"][frames][:, 0, 3].long(), rays[:, 0])
    assert torch.equal(state["intrinsics"][frames][:, 2].long() - 300, rays[:, 0])
    assert torch.equal(state["pixels"].long() // width, rays[:, 1])
    assert torch.equal(state["pixels"].long() % width, rays[:, 2])
    found = [(view, row, column) for view, row, column in rays.tolist()]
    assert len(set(found)) == len(found) == len(memory)
    return found


def places_held(memory: RayMemory) -> list[int]:
    """The same as positions among all pixels of views of 4x4 pixels."""
    return [view * 16 + row * 4 + column for view, row, column in held(memory)]


def views_seen(pixels: Pixels) -> Tensor:
    """The numbers of the `numbered_views` that pixels are of, by their colours; all else must be of these views."""
    assert (pixels.colours.dtype, pixels.columns.dtype, pixels.rows.dtype) == (torch.float32, torch.int64, torch.int64)
    values = (pixels.colours * 255.0).round()
    assert torch.equal(pixels.colours, values / 255.0)
    view, row, column = values.long().unbind(-1)
    sources = numbered_views(256, width=1, height=1)
    assert torch.equal(row, pixels.rows)
    assert torch.equal(column, pixels.columns)
    assert torch.equal(pixels.poses, sources.poses[view])
    assert torch.equal(pixels.intrinsics, sources.intrinsics[view])
    return view
