"""What a stream tells of its experiences, and which test views pictures show."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerfcl.streams.stream import EvaluationGroup, Experience, Pictured, Stream, spread_positions
from support.scenes import views_at


def experience(train: Sequence[float], test: Sequence[float], *, announced: bool = True) -> Experience:
    """Cameras at these places along x."""
    views, tested = (views_at([(x, 0.0, 0.0) for x in places]) for places in (train, test))
    return Experience(f"{len(train)} views", views, tested, tested, announced)


def test_a_stream_is_a_sequence_of_experiences_which_are_its_groups() -> None:
    parts = (experience([0.0], [1.0]), experience([0.0, 1.0], [2.0]), experience([0.0, 1.0, 2.0], [3.0]))
    stream = Stream(parts)
    assert (len(stream), stream[1], stream[-1], stream[1:]) == (3, parts[1], parts[2], parts[1:])
    assert all(found is part for found, part in zip(stream, parts, strict=True))
    assert stream.groups == parts
    assert stream.names == ["1 views", "2 views", "3 views"]
    assert stream.frames == 6
    assert stream.past == parts[:2]
    assert Stream(parts[:1]).past == parts[:1], "a single experience stands for its own past"


def test_groups_that_are_evaluated_may_be_others_than_the_experiences() -> None:
    test = views_at([(x, 0.0, 0.0) for x in range(5)])
    stream = Stream((experience([0.0], []), experience([9.0], [])), (EvaluationGroup("everything", test, test),))
    assert stream.names == ["everything"]
    assert stream.pictured == Pictured(0, 2, (0, 1, 3, 4)), "of those nothing is known to be later"


def test_the_pictured_view_is_the_farthest_from_what_is_learned_later() -> None:
    # Distances to the nearest later camera: 1, 2, 6 and 1.
    first = experience([0.0], [1.0, 2.0, -6.0, 11.0])
    stream = Stream((first, experience([0.0], [0.0]), experience([10.0], [0.0])))
    assert stream.pictured == Pictured(0, 2, (0, 1, 2, 3))
    assert Stream((first,)).pictured == Pictured(0, 2, (0, 1, 2, 3)), "the middle one where nothing is learned later"
    untested = dataclasses.replace(first, test=first.test.select([]))
    assert Stream((untested, first)).pictured.group == 1


@pytest.mark.parametrize(("tested", "group"), [("++++", 2), ("++-+", 3), ("-+-", 1), ("+", 0)])
def test_without_announcements_the_third_experience_or_the_next_that_is_tested_is_watched(
    tested: str, group: int
) -> None:
    stream = Stream(tuple(experience([0.0], [1.0] if sign == "+" else [], announced=False) for sign in tested))
    assert stream.pictured.group == group


@given(st.integers(0, 50), st.integers(1, 8))
def test_spread_positions_are_evenly_apart(total: int, count: int) -> None:
    positions = spread_positions(total, count)
    assert len(positions) == min(total, count)
    assert all(0 <= position < total for position in positions)
    gaps = [after - before for before, after in itertools.pairwise(positions)]
    assert all(abs(gap - total / len(positions)) <= 1.0 for gap in gaps)
    margins = (positions[0], total - 1 - positions[-1]) if positions else ()
    assert all(abs(margin + 0.5 - 0.5 * total / len(positions)) <= 0.5 for margin in margins)


def test_asking_for_more_positions_than_there_are_costs_nothing() -> None:
    assert spread_positions(5, 10**12) == (0, 1, 2, 3, 4)
