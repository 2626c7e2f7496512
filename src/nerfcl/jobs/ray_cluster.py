"""Jobs on a Ray cluster. Nodes need only nerfcl; files travel with the jobs."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from nerfcl.errors import Argument, NerfclError
from nerfcl.files import written_aside
from nerfcl.jobs.job import Job, Outcome, attempt

LOCAL = "local"
RETRIES = 3  # for a job whose worker or node dies
_SECONDS_TO_ANSWER = 10.0

Files = dict[str, bytes]  # by path within a folder


class RayCluster:
    """An executor on Ray: each job reserves its cores, and its files are returned when it ends.

    Args:
        root, shared: arguments of the jobs' work.
        address: address for `ray.init`; "local" starts a cluster on this machine, which ends with the executor.
        jobs: number of concurrent jobs on a local cluster.
        threads: threads of each job.
        gpus: GPUs reserved for each job.

    Raises:
        NerfclError: Ray is not installed, or nothing listens at the address.
    """

    def __init__(self, root: Path, shared: Any, address: str, jobs: int, threads: int, gpus: int = 0) -> None:
        self._ray = _import_ray(address)
        _check_address(address)
        self._root, self._shared, self._address, self._jobs, self._threads = root, shared, address, jobs, threads
        self._remote = self._ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(_run)
        self._needed: dict[Path | None, Any] = {None: None}
        self._running: dict[Any, Job] = {}

    def __enter__(self) -> RayCluster:
        options: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "ERROR"}
        if self._address == LOCAL:
            options |= {"num_cpus": self._jobs * self._threads, "include_dashboard": False}
        try:
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise NerfclError(
                Argument("ray", self._address),
                f": cannot reach a cluster there ({error}); if it requires a token, set RAY_AUTH_TOKEN",
            ) from None
        self._shared = self._ray.put(self._shared)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def has_room(self) -> bool:
        return True  # Ray queues jobs until cores are free

    def start(self, job: Job) -> None:
        if job.needs not in self._needed:
            assert job.needs is not None
            self._needed[job.needs] = self._ray.put(_read(self._root / job.needs))
        own = _read(self._root / job.folder)
        reference = self._remote.options(name=job.name).remote(
            job, self._shared, own, self._needed[job.needs], self._threads
        )
        self._running[reference] = job

    def wait(self) -> tuple[Job, Outcome]:
        (reference,), _ = self._ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(reference)
        try:
            outcome, files = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            raise NerfclError(
                f"{job.name}: could not be started on a Ray worker ({reason}); the same version of nerfcl must be "
                "installed there"
            ) from None
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise NerfclError(
                f"{job.name}: its Ray worker was lost {1 + RETRIES} times ({reason}); finished runs are kept: run "
                "the same command again to resume"
            ) from None
        _write(self._root / job.folder, files, job.last)
        return job, outcome


def _import_ray(address: str) -> ModuleType:
    # A cluster that we start ourselves reports no usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        why = ": Ray is not installed; run pip install 'nerfcl[cluster]'"
        raise NerfclError(Argument("ray", address), why) from None
    return ray


def _check_address(address: str) -> None:
    """Reject an address at which nothing listens: Ray would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "local", "auto"
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise NerfclError(Argument("ray", address), f": nothing answers there ({error})") from None


def _run(job: Job, shared: Any, own: Files, needed: Files | None, threads: int) -> tuple[Outcome, Files]:
    """Run a job on some node, in a temporary folder; return the files it left, even if it failed."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="nerfcl-") as folder:
        root = Path(folder)
        _write(root / job.folder, own, job.last)
        if job.needs is not None:
            _write(root / job.needs, needed or {}, job.last)
        outcome = attempt(job, root, shared)
        return outcome, _read(root / job.folder)


def _read(folder: Path) -> Files:
    """Read all files of a folder except those being written."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write(folder: Path, files: Files, last: str) -> None:
    """Write files into a folder, ending with the one that marks it as done."""
    for name in sorted(files, key=lambda name: name == last):
        with written_aside(folder / name) as aside:
            aside.write_bytes(files[name])
