"""A short part of each attack of `benchmarks/endurance.py`, with seeds of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.attacks.interleavings import play
from benchmarks.attacks.kills import measure_kills
from benchmarks.attacks.mutations import measure_mutations
from benchmarks.attacks.writers import measure_rivals

SEED = 10**6  # beyond those of the benchmark


@pytest.mark.parametrize("first", range(SEED, SEED + 80, 20))
def test_interleaved_calls_neither_hang_nor_lose_a_frame(first: int) -> None:
    games = [play(seed) for seed in range(first, first + 20)]
    assert sum(game.accepted for game in games) > 100
    assert sum(game.refused for game in games) > 10


def test_mutated_files_are_used_or_refused_in_one_line(tmp_path: Path) -> None:
    result = measure_mutations(tmp_path, 108, SEED)
    assert result.faults == []
    assert sum(result.used.values()) == 108
    assert len(result.used) == 8
    assert sum(result.refused.values()) > 30


@pytest.mark.parametrize("command", ["run", "online --watch"])
def test_a_killed_command_ends_as_if_nothing_had_happened(command: str, tmp_path: Path) -> None:
    (killed,) = measure_kills(tmp_path, 1, SEED, [command])
    assert sum(killed.kills.values()) >= 1
    assert killed.different == []


def test_one_of_two_writers_is_refused(tmp_path: Path) -> None:
    rivals = measure_rivals(tmp_path, 1)
    assert rivals.faults == []
    assert rivals.outcomes["done"] >= 2
