"""Work spread over threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from nerfcl.models.kernels.threads import in_parallel


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_each_number_is_worked_on_once(threads: int, count: int) -> None:
    done: list[int] = []
    in_parallel(done.append, count)
    assert sorted(done) == list(range(count))
    assert torch.get_num_threads() == threads


def test_as_many_threads_work_as_torch_may_use_and_each_is_alone(threads: int) -> None:
    workers: set[int] = set()
    everyone = threading.Barrier(threads)

    def work(number: int) -> None:
        del number
        everyone.wait(20)
        assert torch.get_num_threads() == 1
        workers.add(threading.get_ident())

    in_parallel(work, threads)
    assert len(workers) == threads


def test_the_caller_does_the_work_of_a_thread_that_is_held_up() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    mine, caller, held = [], threading.get_ident(), threading.Event()

    def work(number: int) -> None:
        if threading.get_ident() == caller:
            mine.append(number)
            time.sleep(0.002)
            if len(mine) == 49:
                held.set()
        else:
            held.wait(20)

    try:
        in_parallel(work, 50)
    finally:
        torch.set_num_threads(before)
    assert len(mine) >= 49


def test_an_error_ends_the_work_and_reaches_the_caller(threads: int) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        time.sleep(0.001)
        done.append(number)

    with pytest.raises(ValueError, match="three"):
        in_parallel(work, 1000)
    assert len(done) < 900
    assert torch.get_num_threads() == threads
    later: list[int] = []
    in_parallel(later.append, 10)
    assert sorted(later) == list(range(10))


def test_work_may_spread_work(threads: int) -> None:
    done: list[tuple[int, int]] = []

    def outer(number: int) -> None:
        in_parallel(lambda inner: done.append((number, inner)), 4)

    in_parallel(outer, 6)
    assert sorted(done) == [(a, b) for a in range(6) for b in range(4)]
    assert torch.get_num_threads() == threads


def test_two_callers_at_once(threads: int) -> None:
    del threads
    done: list[list[int]] = [[], []]
    callers = [threading.Thread(target=in_parallel, args=(part.append, 200)) for part in done]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert [sorted(part) for part in done] == [list(range(200))] * 2
