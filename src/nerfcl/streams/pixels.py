"""Batches of pixels to train on: their cameras, positions and colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfcl.scenes.lenses import joined
from nerfcl.scenes.scene import Views


@dataclass(frozen=True)
class Pixels:
    """B pixels, each with its own camera.

    Attributes:
        poses: (B, 4, 4) float32, world from camera.
        intrinsics: (B, 4) float32, fx, fy, cx, cy in pixels; or (B, 20) with lenses, see `nerfcl.scenes.lenses`.
        columns: (B,) int64 pixel columns.
        rows: (B,) int64 pixel rows.
        colours: (B, 3) float32 targets, sRGB in [0, 1].
        indices: (B,) int64, where each pixel comes from: index among all pixels of the views, or in the memory.
        new: number of new pixels, of the current experience; they come first, pixels of the past follow.
        soft: (new, 3) float32 soft targets of the new pixels, or None.

    Example:
        >>> import nerfcl
        >>> views = nerfcl.load_scene("builtin", size=(16, 16)).train
        >>> new, old = (pixels_at(views, torch.tensor(places)) for places in ([0, 1, 2], [300, 600]))
        >>> batch = new.with_past(old)
        >>> len(batch), batch.new
        (5, 3)
    """

    poses: Tensor
    intrinsics: Tensor
    columns: Tensor
    rows: Tensor
    colours: Tensor
    indices: Tensor
    new: int
    soft: Tensor | None = None

    def __len__(self) -> int:
        return self.columns.shape[0]

    def select(self, chosen: slice | Tensor) -> Pixels:
        """Return the chosen pixels, in this order; the batch must be all new or all past."""
        columns = self.columns[chosen]
        return Pixels(
            self.poses[chosen],
            self.intrinsics[chosen],
            columns,
            self.rows[chosen],
            self.colours[chosen],
            self.indices[chosen],
            new=len(columns) if self.new else 0,
            soft=None if self.soft is None else self.soft[chosen],
        )

    def with_past(self, past: Pixels) -> Pixels:
        """Append pixels of the past."""
        return replace(
            self,
            poses=torch.cat([self.poses, past.poses]),
            intrinsics=joined([self.intrinsics, past.intrinsics]),
            columns=torch.cat([self.columns, past.columns]),
            rows=torch.cat([self.rows, past.rows]),
            colours=torch.cat([self.colours, past.colours]),
            indices=torch.cat([self.indices, past.indices]),
        )


def pixels_at(views: Views, indices: Tensor) -> Pixels:
    """Look up pixels of views by (B,) flat indices over view, row and column, in row-major order."""
    per_view = views.height * views.width
    view, pixel = indices // per_view, indices % per_view
    # index_select takes a tenth of the time of indexing with brackets, and this runs in every step.
    return Pixels(
        views.poses.index_select(0, view),
        views.intrinsics.index_select(0, view),
        pixel % views.width,
        pixel // views.width,
        views.images.view(-1, 3).index_select(0, indices).float() / 255.0,
        indices,
        new=len(indices),
    )
