"""Tasks on a Ray cluster: nothing but nerfcl has to be there, files travel with the tasks."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from nerfcl.errors import NerfclError
from nerfcl.files import written_aside
from nerfcl.jobs.job import Outcome, Task, Threads, attempt

LOCAL = "local"
RETRIES = 3  # of a task whose worker or node dies
_SECONDS_TO_ANSWER = 10.0

Files = dict[str, bytes]  # by their paths within a folder


class Cluster:
    """A crew of Ray's: each task claims its cores, and its files come back when it has ended.

    Args:
        root, shared: what tasks are called with.
        address: as `ray.init` takes it; "local" starts a cluster of this machine alone, which ends with the crew.
        jobs: how many at a time, where the cluster is this machine.
        threads: of each task.
        gpus: that each task claims.

    Raises:
        NerfclError: Ray is not installed, or nobody listens at the address.
    """

    def __init__(self, root: Path, shared: Any, address: str, jobs: int, threads: Threads, gpus: int = 0) -> None:
        self._ray = _import_ray(address)
        _knock(address)
        self._root, self._shared, self._address, self._jobs, self._threads = root, shared, address, jobs, threads
        self._remote = self._ray.remote(num_cpus=threads.cores, num_gpus=gpus, max_retries=RETRIES)(_do)
        self._needed: dict[Path | None, Any] = {None: None}
        self._running: dict[Any, Task] = {}

    def __enter__(self) -> Cluster:
        options: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "ERROR"}
        if self._address == LOCAL:
            options |= {"num_cpus": self._jobs * self._threads.cores, "include_dashboard": False}
        try:
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise NerfclError(
                f"--ray {self._address}: no cluster can be reached there ({error}); where one asks for a token, set "
                "RAY_AUTH_TOKEN"
            ) from None
        self._shared = self._ray.put(self._shared)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def has_room(self) -> bool:
        return True  # Ray keeps what there are no cores for

    def start(self, task: Task) -> None:
        if task.needs not in self._needed:
            assert task.needs is not None
            self._needed[task.needs] = self._ray.put(_read(self._root / task.needs))
        own = _read(self._root / task.folder)
        reference = self._remote.options(name=task.name).remote(
            task, self._shared, own, self._needed[task.needs], self._threads
        )
        self._running[reference] = task

    def wait(self) -> tuple[Task, Outcome]:
        (reference,), _ = self._ray.wait(list(self._running), num_returns=1)
        task = self._running.pop(reference)
        try:
            outcome, files = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            raise NerfclError(
                f"{task.name}: could not be begun on a Ray worker ({reason}); the same version of nerfcl must be "
                "installed there"
            ) from None
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise NerfclError(
                f"{task.name}: its Ray worker was lost, {1 + RETRIES} times ({reason}); what is finished is kept: run "
                "the same command again to go on"
            ) from None
        _write(self._root / task.folder, files, task.last)
        return task, outcome


def _import_ray(address: str) -> ModuleType:
    # What we start ourselves tells nobody that it was started.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise NerfclError(f"--ray {address}: Ray is not installed; run pip install 'nerfcl[cluster]'") from None
    return ray


def _knock(address: str) -> None:
    """Refuses an address where nobody listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "local", "auto"
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise NerfclError(f"--ray {address}: nobody answers there ({error})") from None


def _do(task: Task, shared: Any, own: Files, needed: Files | None, threads: Threads) -> tuple[Outcome, Files]:
    """Does a task on some machine, in a folder of its own; what it left there, also where something went wrong."""
    threads.take()
    with tempfile.TemporaryDirectory(prefix="nerfcl-") as folder:
        root = Path(folder)
        _write(root / task.folder, own, task.last)
        if task.needs is not None:
            _write(root / task.needs, needed or {}, task.last)
        outcome = attempt(task, root, shared)
        return outcome, _read(root / task.folder)


def _read(folder: Path) -> Files:
    """All files of a folder but those that are being written."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write(folder: Path, files: Files, last: str) -> None:
    """Writes files into a folder, the one that says that all are there last."""
    for name in sorted(files, key=lambda name: name == last):
        with written_aside(folder / name) as aside:
            aside.write_bytes(files[name])
