"""Jobs in local processes."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from nerfcl.errors import Argument, NerfclError
from nerfcl.jobs.job import Job, Outcome, attempt
from nerfcl.jobs.workers import start_worker, without_interrupts

_PATIENCE = 10.0  # seconds for a process to clean up


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class Processes:
    """An executor with local processes, each running one job at a time; if one dies, its job is retried once.

    Args:
        root, shared: arguments of the jobs' work.
        jobs: number of processes.
        threads: threads of each process.
    """

    def __init__(self, root: Path, shared: Any, jobs: int, threads: int) -> None:
        self._root, self._jobs, self._threads = root, jobs, threads
        # Plain bytes: torch would pass tensors through shared memory, which is scarce in containers.
        self._shared = pickle.dumps(shared)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, Job]] = {}
        self._retried: set[Path] = set()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        workers = [*self._idle, *(worker for worker, _ in self._busy.values())]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_PATIENCE)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()

    def has_room(self) -> bool:
        return len(self._busy) < self._jobs

    def start(self, job: Job) -> None:
        worker = self._idle.pop() if self._idle else self._new_worker()
        self._busy[worker.connection] = worker, job
        with suppress(OSError):  # if it has died, `wait` notices
            worker.connection.send(job)

    def wait(self) -> tuple[Job, Outcome]:
        while True:
            connection = next(iter(wait(list(self._busy))))
            assert isinstance(connection, Connection)
            worker, job = self._busy.pop(connection)
            try:
                outcome: Outcome = connection.recv()
            except (EOFError, OSError):
                self._replace(worker, job)
                continue
            self._idle.append(worker)
            return job, outcome

    def _replace(self, worker: _Worker, job: Job) -> None:
        """Restart the job of a worker that died, unless that happened before."""
        worker.process.join()
        worker.connection.close()
        how = f"{job.name}: its process died ({_cause(worker.process.exitcode)})"
        if job.folder in self._retried:
            raise NerfclError(
                f"{how} twice, perhaps for lack of memory; finished runs are kept: "
                "run the same command again to resume, with fewer ",
                Argument("jobs"),
            )
        print(f"{how}; retrying once", file=sys.stderr)
        self._retried.add(job.folder)
        self.start(job)

    def _new_worker(self) -> _Worker:
        # A forked child would inherit torch's threads in an undefined state.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._root, self._shared, self._threads), name="nerfcl worker", daemon=True
        )
        with without_interrupts():
            process.start()
        theirs.close()  # so that a worker's death closes the pipe
        return _Worker(process, ours)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _serve(connection: Connection, root: Path, shared: bytes, threads: int) -> None:
    """Run one job after the other, until this process is terminated."""
    start_worker()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # cleans up, unlike the default handler
    import torch

    torch.set_num_threads(threads)
    everything = pickle.loads(shared)
    while True:
        connection.send(attempt(connection.recv(), root, everything))
