"""Rays of the past, in a struct of arrays with a capacity, and their cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from nerfcl.errors import require, require_between
from nerfcl.memory.cameras import Cameras, bytes_per_camera, largest_camera
from nerfcl.memory.draw import DRAWS, Draw
from nerfcl.memory.fill import FILLS, Candidates, Fill, Teacher, TeacherOutput
from nerfcl.scenes.lenses import PINHOLE
from nerfcl.scenes.scene import Views
from nerfcl.streams.pixels import Pixels
from nerfcl.streams.sampling import EpochSampler
from nerfcl.streams.stream import Stream

BYTES_PER_RAY, BYTES_PER_LOSS = 11, 2


@dataclass(frozen=True, kw_only=True)
class DrawSettings:
    """Which stored rays are replayed, and with which colours.

    Attributes:
        draw: draw policy: "random" (all rays, epoch after epoch), "weighted" (without replacement, with probability ∝
            weight), or "topk" (those of highest loss); see `nerfcl.memory.draw`.
        exploration: fraction of a weighted draw that comes uniformly from the other rays, 0 to 1.
        centre_weight: a in the weights a * centre + (1 - a) * loss, both normalised to a sum of 1; centre is a Gaussian
            around the image centre, with standard deviation 1 if the image spans [-1, 1]^2.
        soft_replay: whether to store the colours that the model renders, instead of the true ones.
    """

    draw: str = "random"
    exploration: float = 0.0
    centre_weight: float = 0.0
    soft_replay: bool = False

    def __post_init__(self) -> None:
        require(self.draw in DRAWS, self, "draw", f"must be one of {', '.join(DRAWS)}")
        for name in ("exploration", "centre_weight"):
            require_between(self, name, 0, 1)
            applies = self.draw_policy.uses_weights or not getattr(self, name)
            require(applies, self, name, "needs a draw policy with weights, such as 'weighted'")

    @property
    def draw_policy(self) -> Draw:
        """The policy that `draw` names."""
        return DRAWS[self.draw]


@dataclass(frozen=True, kw_only=True)
class RayMemorySettings(DrawSettings):
    """Which rays are kept, and which of them are replayed.

    Attributes:
        rays: capacity; None keeps everything.
        fill: fill policy. At the end of an experience, in proportion to its rays: "random", "uniform" (every k-th),
            "contrast", "topk" (those of highest loss), "loss-grid" (2048 rays of every 8th frame, more where the loss
            is high); "reservoir" is a uniform sample of all rays so far. While an experience is learned: "highest" and
            "lowest" loss. See `nerfcl.memory.fill`.

    Example:
        >>> settings = RayMemorySettings(rays=1000, fill="contrast")
        >>> settings.rays_in(50_000, frames=10)
        4476
    """

    rays: int | None = 20_480
    fill: str = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rays is None or self.rays >= 1, self, "rays", "must be at least 1")
        require(self.fill in FILLS, self, "fill", f"must be one of {', '.join(FILLS)}")
        soft = self.soft_replay and self.fill_policy.during_training
        require(not soft, self, "soft_replay", f"not with fill '{self.fill}', which takes rays during training")

    @property
    def fill_policy(self) -> Fill:
        """The policy that `fill` names."""
        return FILLS[self.fill]

    @property
    def needs_losses(self) -> bool:
        """Whether each ray's loss must be stored."""
        fill = self.fill_policy
        return fill.needs_losses or fill.during_training or self.draw_policy.needs_losses

    @property
    def bytes_per_ray(self) -> int:
        """Bytes per stored ray, without its camera."""
        return BYTES_PER_RAY + (BYTES_PER_LOSS if self.needs_losses else 0)

    def rays_in(self, budget: int, frames: int, camera_bytes: int = bytes_per_camera(PINHOLE)) -> int:
        """Count the most rays, of up to `frames` frames, that never exceed `budget` bytes, cameras included."""
        each = self.bytes_per_ray
        # At worst every ray is of a different frame, until all frames are used.
        spread = min(budget // (each + camera_bytes), frames)
        return max(spread, (budget - frames * camera_bytes) // each, 0)

    def bytes_of_past(self, stream: Stream) -> int:
        """Count the bytes that all rays of a stream's past take, cameras included."""
        past = [experience.train for experience in stream.past]
        frames, rays = self._offers(past)
        return rays * self.bytes_per_ray + frames * largest_camera(past)

    def within(self, budget: int, stream: Stream) -> Self | None:
        """Return settings with which a memory never exceeds `budget` bytes on a stream, cameras included.

        The capacity is at most the number of rays that the past offers.

        Returns:
            The settings; None if not even one ray fits.
        """
        views = [experience.train for experience in stream]
        frames, _ = self._offers(views)
        _, past = self._offers([experience.train for experience in stream.past])
        rays = min(self.rays_in(budget, frames, largest_camera(views)), past)
        return replace(self, rays=rays) if rays > 0 else None

    def _offers(self, views: Sequence[Views]) -> tuple[int, int]:
        frames, rays = zip(*(self.fill_policy.offers(each) for each in views), strict=True)
        return sum(frames), sum(rays)


class RayMemory:
    """A memory of rays. The cost of a draw hardly grows with the capacity.

    It stores frame, pixel and 8-bit colour (11 bytes per ray), losses if they are needed (2 more), and pose, intrinsics
    and image size once per frame.

    Args:
        settings: which rays are kept, and which are drawn.
        generator: source of randomness; part of the saved state.
    """

    def __init__(self, settings: RayMemorySettings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator
        self.cameras = Cameras()
        self.losses = torch.empty(0, dtype=torch.bfloat16)
        self.offered = 0  # rays offered so far
        self.fills = 0  # experiences so far
        self.clock = 0  # training steps so far
        self.replaced = 0  # rays replaced at the last change
        self._frames = torch.empty(0, dtype=torch.int32)
        self._pixels = torch.empty(0, dtype=torch.int32)
        self._colours = torch.empty(0, 3, dtype=torch.uint8)
        # For policies that take rays during training: index of each ray of the current experience here, or -1.
        self._places = torch.empty(0, dtype=torch.int32)
        self._first_frame = 0
        self._sampler: EpochSampler | None = None
        self._centre: Tensor | None = None

    def __len__(self) -> int:
        return self._frames.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the rays and of the cameras of their frames."""
        return self.cameras.nbytes + sum(part.numel() * part.element_size() for part in self._arrays().values())

    @property
    def sampler(self) -> EpochSampler:
        """Draws all rays, epoch after epoch; the memory must not be empty."""
        assert self._sampler is not None
        return self._sampler

    @property
    def median_age(self) -> float:
        """Median over rays of the training steps since their frame arrived."""
        return float(self.clock - self.cameras.born[self._frames.long()].median()) if len(self) else 0.0

    def metrics(self) -> dict[str, float]:
        """Return values to plot over time, by name."""
        return {
            "num_replacements": float(self.replaced),
            "median_age": self.median_age,
            "frames_kept": float(len(self.cameras)),
        }

    def resize(self, rays: int) -> None:
        """Change the capacity from the next fill on."""
        self.settings = replace(self.settings, rays=rays)

    def fill(self, views: Views, teacher: Teacher | None = None) -> None:
        """Offer all rays of views, and make room for those that are taken.

        For policies that take rays during training, only end the experience.

        Args:
            views: views just learned.
            teacher: renders the views' pixels; may be omitted if neither losses nor soft colours are needed.
        """
        self.fills += 1
        policy = self.settings.fill_policy
        if policy.during_training:
            self._places = torch.empty(0, dtype=torch.int32)
            self._frames = self.cameras.drop_unused(self._frames)
            self._begin_draws()
            return
        candidates = policy.candidates(views, teacher or _no_teacher, self.generator)
        taken = self._make_room(policy, candidates)
        indices, output = candidates.indices[taken], None
        if candidates.output is not None:
            output = TeacherOutput(candidates.output.colours[taken], candidates.output.losses[taken])
        elif self.settings.needs_losses or self.settings.soft_replay:
            output = (teacher or _no_teacher)(indices)
        colours = views.images.view(-1, 3)[indices]
        if output is not None and self.settings.soft_replay:
            colours = output.colours
        per_view = views.height * views.width
        frames = self.cameras.add(views, self.clock) + indices // per_view
        self._append(frames, indices % per_view, colours, None if output is None else output.losses)
        self._frames = self.cameras.drop_unused(self._frames)
        self._begin_draws()

    def open(self, views: Views) -> None:
        """Begin an experience; do nothing if rays are taken at its end."""
        if self.settings.fill_policy.during_training:
            self._first_frame = self.cameras.add(views, self.clock)
            self._places = torch.full((views.pixels,), -1, dtype=torch.int32)

    def offer(self, pixels: Pixels, losses: Tensor) -> None:
        """Offer rays that were just trained on; do nothing if rays are taken at the end of an experience.

        Args:
            pixels: a batch whose first `new` pixels are of the opened views.
            losses: (B,) losses of the batch.
        """
        policy = self.settings.fill_policy
        if not policy.during_training:
            return
        indices, first = torch.unique(pixels.indices[: pixels.new], return_inverse=True)
        of = torch.empty(len(indices), dtype=torch.int64).scatter_(0, first, torch.arange(len(first)))
        losses = losses[of]
        places = self._places[indices].long()
        self.losses[places[places >= 0]] = losses[places >= 0].to(self.losses)
        indices, losses, of = indices[places < 0], losses[places < 0], of[places < 0]
        capacity = self.settings.rays or len(self) + len(indices)
        both = torch.cat([self.losses, losses.to(self.losses)]).float()
        if len(both) > capacity:
            kept = policy.select(both, capacity)
            stay, come = kept[kept < len(self)], kept[kept >= len(self)] - len(self)
        else:
            stay, come = torch.arange(len(self)), torch.arange(len(indices))
        self.replaced = len(self) - len(stay)
        if not len(come):
            return
        if self.replaced:
            self._keep(stay)
        width, height = self.cameras.sizes[-1].tolist()
        per_view = width * height
        self._append(
            self._first_frame + indices[come] // per_view,
            indices[come] % per_view,
            (pixels.colours[of[come]] * 255.0).round().byte(),
            losses[come],
        )
        mine = (self._frames >= self._first_frame).nonzero()[:, 0]
        rays = (self._frames[mine].long() - self._first_frame) * per_view + self._pixels[mine]
        self._places.fill_(-1)
        self._places[rays] = mine.to(torch.int32)

    def draw(self, count: int) -> Pixels:
        """Draw `count` rays; the memory must not be empty. `Pixels.indices` are indices into the memory."""
        chosen = self.settings.draw_policy.draw(self, count)
        return self.cameras.pixels(
            self._frames.index_select(0, chosen),
            self._pixels.index_select(0, chosen),
            self._colours.index_select(0, chosen).float() / 255.0,
            chosen,
        )

    def set_losses(self, places: Tensor, losses: Tensor) -> None:
        """Update the losses of the rays at these (B,) indices, if losses are stored."""
        if self.settings.needs_losses:
            self.losses[places] = losses.to(self.losses)

    def weights(self) -> Tensor:
        """Compute the weights (N,) of weighted draws, up to a constant factor."""
        if self._centre is None:
            return self.losses
        centre = self.settings.centre_weight / float(self._centre.sum())
        other = (1.0 - self.settings.centre_weight) / max(float(self.losses.sum(dtype=torch.float32)), 1e-30)
        return centre * self._centre + other * self.losses

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to resume exactly."""
        return {
            **self._arrays(),
            **self.cameras.state_dict(),
            "losses": self.losses.clone(),  # changed in place; the others are replaced
            "places": self._places.clone(),
            "first_frame": self._first_frame,
            "clock": self.clock,
            "replaced": self.replaced,
            "offered": self.offered,
            "fills": self.fills,
            "generator": self.generator.get_state(),
            "sampler": None if self._sampler is None else self._sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the parts do not fit together.
        """
        self._frames, self._pixels, self._colours = state["frames"], state["pixels"], state["colours"]
        self.losses = state["losses"].clone()  # changed in place; the others are replaced
        self.cameras.load_state_dict(state)
        self.cameras.check_frames(self._frames)
        rays = len(self._frames)
        if self._pixels.shape != (rays,) or self._colours.shape != (rays, 3) or len(self.losses) not in (0, rays):
            raise ValueError("the stored rays are incomplete")
        self._places, self._first_frame = state["places"].clone(), state["first_frame"]
        self.clock, self.replaced = state["clock"], state["replaced"]
        self.offered, self.fills = state["offered"], state["fills"]
        if state["sampler"] is not None:
            self._sampler = EpochSampler(len(self), self.generator)
            self._sampler.load_state_dict(state["sampler"])
        self._centre = self._centre_weights()
        self.generator.set_state(state["generator"])

    def _arrays(self) -> dict[str, Tensor]:
        return {"frames": self._frames, "pixels": self._pixels, "colours": self._colours, "losses": self.losses}

    def _make_room(self, policy: Fill, candidates: Candidates) -> Tensor:
        """Drop rays to make room for candidates; return the indices of the candidates that are taken."""
        capacity, before, total = self.settings.rays, self.offered, len(candidates)
        self.offered += total
        self.replaced = 0
        if capacity is None or self.offered <= capacity:
            return torch.arange(total)
        arriving = policy.count_arriving(total, before, capacity, self.generator)
        staying = min(capacity - arriving, len(self))
        self.replaced = len(self) - staying
        self._keep(policy.stay(len(self), staying, self.losses, self.generator))
        return policy.take(candidates, arriving, self.generator)

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
            self.losses = torch.cat([self.losses, losses.to(torch.bfloat16)])
        self._begin_draws()

    def _begin_draws(self) -> None:
        self._sampler = EpochSampler(len(self), self.generator) if len(self) else None
        self._centre = self._centre_weights()

    def _keep(self, chosen: Tensor) -> None:
        self._frames, self._pixels, self._colours = self._frames[chosen], self._pixels[chosen], self._colours[chosen]
        if self.settings.needs_losses:
            self.losses = self.losses[chosen]


def _no_teacher(indices: Tensor) -> TeacherOutput:
    del indices
    raise ValueError("a memory with losses or soft colours needs a teacher that renders the pixels")
