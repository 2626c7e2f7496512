"""What a stream is: experiences in order, the views that are evaluated, and the one that is watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, overload

import torch
from torch import Tensor

from nerfcl.scenes.scene import Views

SHOWN_VIEWS = 4  # test views whose renderings are kept for pictures


@dataclass(frozen=True)
class TeacherImages:
    """What an earlier model rendered for N views, where that was written down.

    Attributes:
        colours: (N, H, W, 3) uint8 as rendered, or None.
        losses: (N, H, W) float32 squared errors, a mean over the channels, or None.
    """

    colours: Tensor | None = None
    losses: Tensor | None = None


class Group(Protocol):
    """Views that are evaluated together; they make a column of R. An experience is a group."""

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
    """One part of a stream: views to learn from while it lasts.

    Attributes:
        name: of the task.
        train: views that are there during this experience, and gone afterwards.
        val: views to watch the training with.
        test: views to evaluate what was learned here on; never trained on.
        announced: whether the learner is told where the experience begins and ends.
        teacher: what an earlier model rendered for the train views; None asks the model itself where that is needed.

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
class Watched:
    """The test views that pictures show.

    Attributes:
        group: position of the group that they belong to.
        view: position, among its test views, of the one that is shown while training.
        shown: positions of a few that are shown side by side.
    """

    group: int
    view: int
    shown: tuple[int, ...]


@dataclass(frozen=True)
class Stream(Sequence[Experience]):
    """Experiences in the order in which they are learned.

    Attributes:
        experiences: at least one.
        evaluated: groups of views that are evaluated, where these are not the experiences' own.

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
        """Of the groups."""
        return [group.name for group in self.groups]

    @property
    def frames(self) -> int:
        """Number of train views of all experiences."""
        return sum(len(experience.train) for experience in self)

    @property
    def past(self) -> tuple[Experience, ...]:
        """What is past while the last experience is learned; the only experience where there is just one."""
        return self.experiences[:-1] or self.experiences

    @cached_property
    def watched(self) -> Watched:
        """The test views that pictures show.

        They are of the first group that has any, or, where nobody announces experiences, of the third one or the next
        that has any. Shown while training is the one whose camera is farthest from all cameras of later experiences:
        there forgetting is seen.
        """
        tested = [i for i, group in enumerate(self.groups) if len(group.test)]
        first = 0 if self[0].announced or self.evaluated is not None else 2
        watched = next((i for i in tested if i >= first), tested[0])
        test = self.groups[watched].test
        shown = spread_positions(len(test), SHOWN_VIEWS)
        later = self[watched + 1 :] if self.evaluated is None else ()
        if not later:
            return Watched(watched, len(test) // 2, shown)
        cameras = torch.cat([experience.train.poses[:, :3, 3] for experience in later])
        farthest = int(torch.cdist(test.poses[:, :3, 3], cameras).amin(1).argmax())
        return Watched(watched, farthest, shown)


def spread_positions(total: int, count: int) -> tuple[int, ...]:
    """Spread at most `count` positions evenly over `total`; none where there is nothing."""
    if not total:
        return ()
    return tuple(sorted({round((i + 0.5) * total / count - 0.5) for i in range(count)}))
