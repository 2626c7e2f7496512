"""Streams: experiences in order, the views that are evaluated, and those that pictures show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, overload

import torch
from torch import Tensor

from nerfcl.scenes.scene import Views

SHOWN_VIEWS = 4  # test views that pictures show


@dataclass(frozen=True)
class TeacherImages:
    """Saved renderings of N views by an earlier model.

    Attributes:
        colours: (N, H, W, 3) uint8 as rendered, or None.
        losses: (N, H, W) float32 squared errors, averaged over channels, or None.
    """

    colours: Tensor | None = None
    losses: Tensor | None = None


class Group(Protocol):
    """Views that are evaluated together, a column of R. An experience is a group."""

    @property
    def name(self) -> str: ...

    @property
    def val(self) -> Views: ...

    @property
    def test(self) -> Views: ...


@dataclass(frozen=True)
class EvaluationGroup:
    """A group of views that is not an experience; see `Group`."""

    name: str
    val: Views
    test: Views


@dataclass(frozen=True)
class Experience:
    """One part of a stream: views that are available while it is learned.

    Attributes:
        name: name of the task.
        train: views to train on, available during this experience only.
        val: views to monitor training with.
        test: views to evaluate this experience on; never trained on.
        announced: whether the learner is told where the experience begins and ends.
        teacher: saved renderings of the train views by an earlier model; None renders them when needed.

    Example:
        >>> import nerfcl
        >>> right, left = nerfcl.make_stream(nerfcl.load_scene("builtin", size=(16, 16)), ["right", "left"])
        >>> right.name, right.announced, len(right.train) + len(left.train)
        ('right', True, 100)
    """

    name: str
    train: Views
    val: Views
    test: Views
    announced: bool = True
    teacher: TeacherImages | None = None


@dataclass(frozen=True)
class Pictured:
    """The test views that pictures show.

    Attributes:
        group: index of their group.
        view: index, among its test views, of the one that is shown during training.
        shown: indices of a few that are shown side by side.
    """

    group: int
    view: int
    shown: tuple[int, ...]


@dataclass(frozen=True)
class Stream(Sequence[Experience]):
    """Experiences in the order in which they are learned.

    Attributes:
        experiences: one or more experiences.
        evaluated: groups of views to evaluate; None evaluates the experiences' own.

    Example:
        >>> import nerfcl
        >>> stream = nerfcl.make_stream(nerfcl.load_scene("builtin", size=(16, 16)), ["right", "left"])
        >>> [(experience.name, len(experience.train)) for experience in stream]
        [('right', 53), ('left', 47)]
    """

    experiences: tuple[Experience, ...]
    evaluated: tuple[EvaluationGroup, ...] | None = None

    @overload
    def __getitem__(self, index: int) -> Experience: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Experience, ...]: ...

    def __getitem__(self, index: int | slice) -> Experience | tuple[Experience, ...]:
        return self.experiences[index]

    def __len__(self) -> int:
        return len(self.experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)

    @property
    def groups(self) -> Sequence[Group]:
        """The groups of views that are evaluated, the columns of R."""
        return self.experiences if self.evaluated is None else self.evaluated

    @property
    def names(self) -> list[str]:
        """Names of the groups."""
        return [group.name for group in self.groups]

    @property
    def frames(self) -> int:
        """Total number of train views."""
        return sum(len(experience.train) for experience in self)

    @property
    def past(self) -> tuple[Experience, ...]:
        """All experiences before the last one, or the only experience."""
        return self.experiences[:-1] or self.experiences

    @cached_property
    def pictured(self) -> Pictured:
        """The test views that pictures show.

        They belong to the first group that has any or, if experiences are not announced, to the third or the next that
        has any. The one shown during training has the camera farthest from all cameras of later experiences, where
        forgetting is most visible.
        """
        tested = [i for i, group in enumerate(self.groups) if len(group.test)]
        first = 0 if self[0].announced or self.evaluated is not None else 2
        group = next((i for i in tested if i >= first), tested[0])
        test = self.groups[group].test
        shown = spread_positions(len(test), SHOWN_VIEWS)
        later = self[group + 1 :] if self.evaluated is None else ()
        if not later:
            return Pictured(group, len(test) // 2, shown)
        cameras = torch.cat([experience.train.poses[:, :3, 3] for experience in later])
        farthest = int(torch.cdist(test.poses[:, :3, 3], cameras).amin(1).argmax())
        return Pictured(group, farthest, shown)


def spread_positions(total: int, count: int) -> tuple[int, ...]:
    """Spread at most `count` indices evenly over `total`; none if `total` is 0."""
    if not total:
        return ()
    count = min(count, total)
    return tuple(sorted({round((i + 0.5) * total / count - 0.5) for i in range(count)}))
