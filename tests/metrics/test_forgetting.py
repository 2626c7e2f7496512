"""Average, backward transfer and forgetting of matrices R worked out by hand."""

from __future__ import annotations

import math

import pytest

from nerfcl.metrics.forgetting import average, backward_transfer, forgetting

NAN = math.nan
BEST_OFF_DIAGONAL = [[30.0, 29.0, 5.0], [33.0, 27.0, 11.0], [25.0, 21.0, 32.0]]
FIVE_TESTED_THRICE = [[30.0, 28.0, 11.0, 12.0, 9.0], [27.0, 29.5, 31.0, 26.0, 14.0], [25.0, 29.0, 28.0, 27.0, 33.0]]


@pytest.mark.parametrize(
    ("R", "tested", "mean", "transfer", "forgotten"),
    [
        pytest.param([[30.0, 10.0], [24.0, 28.0]], None, 26.0, -6.0, 6.0, id="loss"),
        pytest.param([[30.0, 10.0], [31.5, 28.5]], None, 30.0, 1.5, -1.5, id="gain, which is not clamped"),
        # The first is best after the second (33), the second before it was ever trained (29).
        pytest.param(BEST_OFF_DIAGONAL, None, 26.0, (-5 - 6) / 2, (8 + 8) / 2, id="best off the diagonal"),
        pytest.param(BEST_OFF_DIAGONAL, [1, 2, 3], 26.0, (-5 - 6) / 2, (8 + 8) / 2, id="tested after each"),
        pytest.param([[31.0]], None, 31.0, 0.0, 0.0, id="single experience"),
        pytest.param([[30.0, NAN, 12.0]], [3], 21.0, 0.0, 0.0, id="single test"),
        pytest.param([[30.0, 20.0, 10.0], [28.0, 31.0, 13.0]], None, 24.0, -2.0, 2.0, id="stream that goes on"),
        # Two experiences are first tested in the first row, two in the second; the last one is not past.
        pytest.param(
            FIVE_TESTED_THRICE, [2, 4, 5], 28.4, (-5 + 1 - 3 + 1) / 4, (5 + 0.5 + 3 - 1) / 4, id="some tests left out"
        ),
        # Without that, three rows are three experiences, of which two are past.
        pytest.param(FIVE_TESTED_THRICE, None, 28.4, (-5 - 0.5) / 2, (5 + 0.5) / 2, id="rows are experiences"),
        # Experiences 2 to 4 were learned since the last test but one: they are not past.
        pytest.param(
            [[30.0, 10.0, 10.0, 10.0], [24.0, 31.0, 32.0, 33.0]], [1, 4], 30.0, -6.0, 6.0, id="only the first is past"
        ),
        pytest.param(
            [[30.0, NAN, 12.0, 10.0], [28.0, NAN, 31.0, 10.0], [26.0, NAN, 29.0, 32.0]],
            [1, 3, 4],
            29.0,
            (-4 - 2) / 2,
            (4 + 2) / 2,
            id="experience without test views",
        ),
    ],
)
def test_summaries_of_R_by_hand(
    R: list[list[float]], tested: list[int] | None, mean: float, transfer: float, forgotten: float
) -> None:
    assert average(R) == pytest.approx(mean)
    assert backward_transfer(R, tested) == pytest.approx(transfer)
    assert forgetting(R, tested) == pytest.approx(forgotten)
