from __future__ import annotations

import math

import pytest

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting


def test_two_tasks_by_hand() -> None:
    # The first task falls from 30 to 24 while the second is learned to 28.
    R = [[30.0, 10.0], [24.0, 28.0]]
    assert average(R) == 26.0
    assert backward_transfer(R) == -6.0
    assert forgetting(R) == 6.0


def test_two_tasks_where_the_first_gains() -> None:
    R = [[30.0, 10.0], [31.5, 28.5]]
    assert average(R) == 30.0
    assert backward_transfer(R) == 1.5
    assert forgetting(R) == -1.5  # not clamped, and the row after the last task is not among the best before


def test_three_tasks_where_the_best_is_not_the_diagonal() -> None:
    # Task 0 is best after task 1 (33), task 1 before it was ever trained (29 after task 0).
    R = [[30.0, 29.0, 5.0], [33.0, 27.0, 11.0], [25.0, 21.0, 32.0]]
    assert average(R) == pytest.approx(26.0)  # (25 + 21 + 32) / 3
    assert backward_transfer(R) == pytest.approx(-5.5)  # ((25 - 30) + (21 - 27)) / 2
    assert forgetting(R) == pytest.approx(8.0)  # ((33 - 25) + (29 - 21)) / 2


def test_single_task_forgets_nothing() -> None:
    assert average([[31.0]]) == 31.0
    assert backward_transfer([[31.0]]) == 0.0
    assert forgetting([[31.0]]) == 0.0


def test_stream_that_is_not_over_counts_the_tasks_learned_so_far() -> None:
    R = [[30.0, 20.0, 10.0], [28.0, 31.0, 13.0]]
    assert average(R) == pytest.approx(24.0)
    assert backward_transfer(R) == -2.0
    assert forgetting(R) == 2.0


NAN = math.nan


def test_scorings_that_skip_experiences_by_hand() -> None:
    # Five experiences, scored after 2, 4 and 5 of them. The first two are known first at the first row, the next two at
    # the second; the last one is not past.
    R = [[30.0, 28.0, 11.0, 12.0, 9.0], [27.0, 29.5, 31.0, 26.0, 14.0], [25.0, 29.0, 28.0, 27.0, 33.0]]
    assert average(R) == pytest.approx(28.4)
    assert backward_transfer(R, [2, 4, 5]) == pytest.approx(((25 - 30) + (29 - 28) + (28 - 31) + (27 - 26)) / 4)
    assert forgetting(R, [2, 4, 5]) == pytest.approx(((30 - 25) + (29.5 - 29) + (31 - 28) + (26 - 27)) / 4)
    # Were every experience scored: three rows are three experiences, of which two are past.
    assert backward_transfer(R) == pytest.approx(((25 - 30) + (29 - 29.5)) / 2)


def test_experiences_since_the_last_scoring_but_one_are_not_past() -> None:
    # Scored after 1 and 4: experiences 2 to 4 were never scored before the end.
    R = [[30.0, 10.0, 10.0, 10.0], [24.0, 31.0, 32.0, 33.0]]
    assert backward_transfer(R, [1, 4]) == -6.0
    assert forgetting(R, [1, 4]) == 6.0


def test_experiences_without_a_test_view_are_left_out() -> None:
    R = [[30.0, NAN, 12.0, 10.0], [28.0, NAN, 31.0, 10.0], [26.0, NAN, 29.0, 32.0]]
    assert average(R) == pytest.approx(29.0)  # (26 + 29 + 32) / 3
    assert backward_transfer(R, [1, 3, 4]) == pytest.approx(((26 - 30) + (29 - 31)) / 2)
    assert forgetting(R, [1, 3, 4]) == pytest.approx(((30 - 26) + (31 - 29)) / 2)


def test_a_stream_scored_once_forgets_nothing() -> None:
    R = [[30.0, NAN, 12.0]]
    assert average(R) == 21.0
    assert backward_transfer(R, [3]) == 0.0
    assert forgetting(R, [3]) == 0.0


def test_one_row_for_every_experience_is_the_default() -> None:
    R = [[30.0, 29.0, 5.0], [33.0, 27.0, 11.0], [25.0, 21.0, 32.0]]
    assert backward_transfer(R, [1, 2, 3]) == backward_transfer(R)
    assert forgetting(R, [1, 2, 3]) == forgetting(R)
