"""One pool of threads for the kernels, which release Python's lock while they compute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import torch


def in_parallel(work: Callable[[int], None], count: int) -> None:
    """Call work(0) to work(count - 1), each once, on as many threads as torch uses.

    Whoever is free takes the next number, the caller too: where another process holds a core, the caller does the work
    of the thread that waits for it. The calls must not depend on each other.
    """
    threads = min(torch.get_num_threads(), count)
    numbers = iter(range(count))  # taking the next one is atomic

    def take() -> None:
        try:
            for number in numbers:
                work(number)
        finally:
            for _ in numbers:  # after an exception, nobody starts another one
                pass

    if threads <= 1:
        take()
        return
    allowed = torch.get_num_threads()
    helpers = [_pool(threads - 1).submit(_help, take) for _ in range(threads - 1)]
    torch.set_num_threads(1)  # for this thread: torch's own threads would be more than there are cores
    try:
        take()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
        torch.set_num_threads(allowed)
    for helper in started:
        helper.result()


def _help(take: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    take()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="nerfcl-kernels")
