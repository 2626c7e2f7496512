"""What is kept of the past: rays in a struct of arrays with a capacity, their cameras apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nerfcl.errors import NerfclError
from nerfcl.memory.cameras import Frames
from nerfcl.metrics.image import local_contrast
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.sampling import Passes, draw_arriving, draw_by_region, draw_by_weight, draw_from_the_rest

FILLS = ("random", "uniform", "contrast", "topk", "reservoir", "highest", "lowest", "loss-grid")
STREAMING = ("highest", "lowest")  # filled while an experience is learned, the others when it is over
GRID_FRAMES, GRID_SIDE, GRID_RAYS = 8, 4, 2048  # of loss-grid: every so many frames, regions along a side, rays a frame
LEAST_CONTRAST = 0.05  # of contrast: what a flat neighbourhood weighs, as a share of the mean
DRAWS = ("random", "weighted", "topk")


@dataclass(frozen=True)
class Recalled:
    """What a model makes of B pixels that it has learned.

    Attributes:
        colours: (B, 3) uint8 as rendered.
        losses: (B,) float32, mean squared error over the channels against the true colours in [0, 1].
    """

    colours: Tensor
    losses: Tensor


Recall = Callable[[Tensor], Recalled]  # (B,) flat indices into views -> what the model makes of those pixels


@dataclass(frozen=True)
class MemorySettings:
    """What is kept, and what is drawn.

    Attributes:
        capacity: the most rays that are held; None keeps everything.
        fill: which rays are kept. With equal shares for every experience, taken when it is over: "random", "uniform"
            (every k-th), "contrast" (with probability ∝ the colours' deviation among a pixel's neighbours, plus a
            little), "topk" (those of highest loss), or "loss-grid" (of every 8th frame 2048 rays, spread over 4x4
            regions in proportion to their mean loss, as the reference project's large experiment). "reservoir" is a
            uniform sample of all rays so far (Vitter 1985), whatever share of each experience that is. While an
            experience is learned: "highest" and "lowest" replace rays of lower (higher) loss by rays just trained on.
        draw: which are drawn: "random" (in passes, each in random order), "weighted" (without replacement, with
            probability ∝ weight), or "topk" (those of highest loss).
        exploration: share of a weighted draw that comes uniformly from the rest, 0 to 1.
        centre_weight: a of the weights a * centre + (1 - a) * loss, both normalised to a sum of 1, where centre is a
            Gaussian of the distance to the image's centre, of deviation 1 when the image spans [-1, 1]^2.
        soft: whether to keep the model's colours instead of the true ones.
    """

    capacity: int | None = 20_480
    fill: str = "random"
    draw: str = "random"
    exploration: float = 0.0
    centre_weight: float = 0.0
    soft: bool = False

    def __post_init__(self) -> None:
        if self.capacity is not None and self.capacity < 1:
            raise NerfclError(f"--memory-rays {self.capacity}: must be at least 1")
        if self.fill not in FILLS:
            raise NerfclError(f"--memory-fill {self.fill}: must be {', '.join(FILLS)}")
        if self.draw not in DRAWS:
            raise NerfclError(f"--memory-draw {self.draw}: must be {', '.join(DRAWS)}")
        for option in ("exploration", "centre_weight"):
            if not 0.0 <= getattr(self, option) <= 1.0:
                raise NerfclError(f"--{option.replace('_', '-')} {getattr(self, option)}: must lie between 0 and 1")
        if self.draw != "weighted" and (self.exploration or self.centre_weight):
            raise NerfclError("--exploration and --centre-weight: only with --memory-draw weighted")
        if self.soft and self.fill in STREAMING:
            raise NerfclError(
                f"--soft-replay: not with --memory-fill {self.fill}, which stores rays while they are learned"
            )

    @property
    def needs_losses(self) -> bool:
        """Whether each ray's loss must be known."""
        return self.fill in ("topk", *STREAMING) or self.draw != "random"


class RayMemory:
    """A memory of rays: frame, pixel and 8-bit colour (11 bytes a ray), where they are needed losses (2 more), and
    pose, intrinsics and image size once a frame.

    All experiences get equal shares for each ray that they offered. The cost of a draw hardly grows with the capacity.

    Args:
        settings: what is kept, and what is drawn.
        generator: source of all randomness here; part of the saved state.
    """

    def __init__(self, settings: MemorySettings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator
        self.offered = 0
        self.fills = 0
        self._frames = torch.empty(0, dtype=torch.int32)
        self._pixels = torch.empty(0, dtype=torch.int32)
        self._colours = torch.empty(0, 3, dtype=torch.uint8)
        self._losses = torch.empty(0, dtype=torch.bfloat16)
        self.cameras = Frames()
        self.clock = 0  # steps
        # Of the experience that is learned, with the fills that work meanwhile: where each of its rays is kept, or -1.
        self._places = torch.empty(0, dtype=torch.int32)
        self._first_frame = 0
        self.replaced = 0  # rays at the last change
        self._passes: Passes | None = None
        self._centre: Tensor | None = None

    def __len__(self) -> int:
        return self._frames.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept: rays, and the cameras of their frames."""
        return self.cameras.nbytes + sum(part.numel() * part.element_size() for part in self._arrays().values())

    @property
    def frames(self) -> int:
        """How many frames something is kept of."""
        return len(self.cameras)

    @property
    def median_age(self) -> float:
        """Median over rays of the steps since their frame came."""
        return float(self.clock - self.cameras.born[self._frames.long()].median()) if len(self) else 0.0

    def figures(self) -> dict[str, float]:
        """Figures that are worth a curve, by name."""
        return {
            "num_replacements": float(self.replaced),
            "median_age": self.median_age,
            "frames_kept": float(self.frames),
        }

    def resize(self, capacity: int) -> None:
        """Holds at most so many rays from the next fill on."""
        self.settings = replace(self.settings, capacity=capacity)

    def fill(self, views: Views, recall: Recall | None = None) -> None:
        """Offers all rays of these views, and makes room for those that are chosen.

        With the fills that work while an experience is learned this only ends the experience.

        Args:
            views: what was just learned.
            recall: what the model makes of the views' pixels; may be left out where neither losses nor soft colours
                are needed.
        """
        self.fills += 1
        if self.settings.fill in STREAMING:
            self._places = torch.empty(0, dtype=torch.int32)
            self._frames = self.cameras.drop_unused(self._frames)
            self._begin_draws()
            return
        per_view = views.height * views.width
        candidates = torch.arange(len(views) * per_view)
        everything = None
        if self.settings.fill in ("topk", "loss-grid"):
            if self.settings.fill == "loss-grid":
                candidates = candidates.view(len(views), per_view)[::GRID_FRAMES].flatten()
            everything = _asked(recall)(candidates)
            if self.settings.fill == "loss-grid":
                size = (views.height, views.width)
                drawn = draw_by_region(everything.losses.view(-1, *size), GRID_SIDE, GRID_RAYS, self.generator)
                candidates = candidates[drawn]
                everything = Recalled(everything.colours[drawn], everything.losses[drawn])
        if self.settings.fill == "contrast":
            scores = local_contrast(views.images).flatten()
            scores += LEAST_CONTRAST * scores.mean() + 1e-6
        else:
            scores = None if everything is None else everything.losses
        chosen = self._make_room(len(candidates), scores)
        if everything is not None:
            recalled = Recalled(everything.colours[chosen], everything.losses[chosen])
        elif self.settings.needs_losses or self.settings.soft:
            recalled = _asked(recall)(candidates[chosen])
        else:
            recalled = None
        chosen = candidates[chosen]
        colours = views.images.view(-1, 3)[chosen]
        if recalled is not None and self.settings.soft:
            colours = recalled.colours
        frames = self.cameras.add(views, self.clock) + chosen // per_view
        self._append(frames, chosen % per_view, colours, None if recalled is None else recalled.losses)
        self._frames = self.cameras.drop_unused(self._frames)
        self._begin_draws()

    def open(self, views: Views) -> None:
        """An experience begins; needed by fills that work while it is learned, the others do nothing."""
        if self.settings.fill in STREAMING:
            self._first_frame = self.cameras.add(views, self.clock)
            self._places = torch.full((len(views) * views.height * views.width,), -1, dtype=torch.int32)

    def offer(self, pixels: Pixels, losses: Tensor) -> None:
        """Offers rays that were just trained on; with fills that work while an experience is learned.

        Args:
            pixels: a batch whose first `new` pixels are of the views that were opened.
            losses: (B,) of the batch.
        """
        if self.settings.fill not in STREAMING:
            return
        indices, first = torch.unique(pixels.indices[: pixels.new], return_inverse=True)
        of = torch.empty(len(indices), dtype=torch.int64).scatter_(0, first, torch.arange(len(first)))
        losses = losses[of]
        places = self._places[indices].long()
        self._losses[places[places >= 0]] = losses[places >= 0].to(self._losses)
        indices, losses, of = indices[places < 0], losses[places < 0], of[places < 0]
        sign = 1.0 if self.settings.fill == "highest" else -1.0
        capacity = self.settings.capacity or len(self) + len(indices)
        both = sign * torch.cat([self._losses, losses.to(self._losses)]).float()
        if len(both) > capacity:
            kept = both.topk(capacity).indices.sort().values
            stay, come = kept[kept < len(self)], kept[kept >= len(self)] - len(self)
        else:
            stay, come = torch.arange(len(self)), torch.arange(len(indices))
        self.replaced = len(self) - len(stay)
        if not len(come):
            return
        if self.replaced:
            self._keep(stay)
        self._append(
            self._first_frame + indices[come] // self._per_view,
            indices[come] % self._per_view,
            (pixels.colours[of[come]] * 255.0).round().byte(),
            losses[come],
        )
        mine = (self._frames >= self._first_frame).nonzero()[:, 0]
        rays = (self._frames[mine].long() - self._first_frame) * self._per_view + self._pixels[mine]
        self._places.fill_(-1)
        self._places[rays] = mine.to(torch.int32)

    @property
    def _per_view(self) -> int:
        """Pixels of a frame of the experience that is learned."""
        width, height = self.cameras.sizes[-1].tolist()
        return width * height

    def draw(self, count: int) -> Pixels:
        """`count` rays; the memory must not be empty. `Pixels.indices` are their places in the memory."""
        chosen = self._choose_drawn(count)
        return self.cameras.pixels(
            self._frames.index_select(0, chosen),
            self._pixels.index_select(0, chosen),
            self._colours.index_select(0, chosen).float() / 255.0,
            chosen,
        )

    def set_losses(self, places: Tensor, losses: Tensor) -> None:
        """Replaces the losses of the rays at these (B,) places, where losses are kept."""
        if self.settings.needs_losses:
            self._losses[places] = losses.to(self._losses)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        return {
            **self._arrays(),
            **self.cameras.state_dict(),
            "losses": self._losses.clone(),  # the others are replaced, never changed
            "places": self._places.clone(),
            "first_frame": self._first_frame,
            "clock": self.clock,
            "replaced": self.replaced,
            "offered": self.offered,
            "fills": self.fills,
            "generator": self.generator.get_state(),
            "passes": None if self._passes is None else self._passes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name in self._arrays():
            setattr(self, f"_{name}", state[name])
        self.cameras.load_state_dict(state)
        self._losses = self._losses.clone()  # changed in place; the others are replaced
        self._places, self._first_frame = state["places"].clone(), state["first_frame"]
        self.clock, self.replaced = state["clock"], state["replaced"]
        self.offered, self.fills = state["offered"], state["fills"]
        if state["passes"] is not None:
            self._passes = Passes(len(self), self.generator)
            self._passes.load_state_dict(state["passes"])
        self._centre = self._centre_weights()
        self.generator.set_state(state["generator"])

    def _arrays(self) -> dict[str, Tensor]:
        return {
            "frames": self._frames,
            "pixels": self._pixels,
            "colours": self._colours,
            "losses": self._losses,
        }

    def _make_room(self, total: int, scores: Tensor | None) -> Tensor:
        """Lets go what has to go for `total` candidates with these scores; which of those are kept."""
        capacity, offered = self.settings.capacity, self.offered
        self.offered += total
        self.replaced = 0
        if capacity is None or self.offered <= capacity:
            return torch.arange(total)
        if self.settings.fill == "reservoir":
            arriving = draw_arriving(total, offered, capacity, self.generator)
        else:
            arriving = min(round(capacity * total / self.offered), total)
        staying = min(capacity - arriving, len(self))
        self.replaced = len(self) - staying
        self._keep(self._choose(len(self), staying, self._losses))
        if self.settings.fill == "contrast":
            assert scores is not None
            return draw_by_weight(scores, arriving, self.generator)
        return self._choose(total, arriving, scores)

    def _choose(self, total: int, count: int, losses: Tensor | None) -> Tensor:
        """Which (count,) of `total` rays are kept."""
        if self.settings.fill in ("random", "contrast", "reservoir", "loss-grid"):
            return torch.randperm(total, generator=self.generator)[:count]
        if self.settings.fill == "uniform":
            return torch.arange(count) * total // max(count, 1)
        assert losses is not None
        return losses.float().topk(count).indices

    def _choose_drawn(self, count: int) -> Tensor:
        """The places (count,) of the rays to draw."""
        if self.settings.draw == "random":
            assert self._passes is not None
            return self._passes.next(count)
        whole, rest = divmod(count, len(self))
        if self.settings.draw == "topk":
            drawn = self._losses.topk(rest).indices
        else:
            exploring = int(rest * self.settings.exploration)
            drawn = draw_by_weight(self._weights(), rest - exploring, self.generator)
            drawn = torch.cat([drawn, draw_from_the_rest(len(self), drawn, exploring, self.generator)])
        return torch.cat([torch.arange(len(self)).repeat(whole), drawn]) if whole else drawn

    def _weights(self) -> Tensor:
        """(N,) weights of weighted draws, up to a factor."""
        if self._centre is None:
            return self._losses
        share = self.settings.centre_weight / float(self._centre.sum())
        other = (1.0 - self.settings.centre_weight) / max(float(self._losses.sum(dtype=torch.float32)), 1e-30)
        return share * self._centre + other * self._losses

    def _centre_weights(self) -> Tensor | None:
        if not self.settings.centre_weight:
            return None
        width, height = self.cameras.sizes[self._frames.long()].long().unbind(1)
        x = 2.0 * (self._pixels % width) / (width - 1) - 1.0
        y = 2.0 * (self._pixels // width) / (height - 1) - 1.0
        return torch.exp(-0.5 * (x.square() + y.square()))

    def _append(self, frames: Tensor, pixels: Tensor, colours: Tensor, losses: Tensor | None) -> None:
        self._frames = torch.cat([self._frames, frames.to(torch.int32)])
        self._pixels = torch.cat([self._pixels, pixels.to(torch.int32)])
        self._colours = torch.cat([self._colours, colours])
        if self.settings.needs_losses:
            assert losses is not None
            self._losses = torch.cat([self._losses, losses.to(torch.bfloat16)])
        self._begin_draws()

    def _begin_draws(self) -> None:
        self._passes = Passes(len(self), self.generator) if len(self) else None
        self._centre = self._centre_weights()

    def _keep(self, chosen: Tensor) -> None:
        self._frames, self._pixels, self._colours = self._frames[chosen], self._pixels[chosen], self._colours[chosen]
        if self.settings.needs_losses:
            self._losses = self._losses[chosen]


def _asked(recall: Recall | None) -> Recall:
    if recall is None:
        raise ValueError("a memory with losses or soft colours needs to know what the model makes of the pixels")
    return recall
