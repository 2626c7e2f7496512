"""Where the runs of a comparison are executed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfcl.errors import Argument, NerfclError
from nerfcl.experiments.prepare import Prepared
from nerfcl.jobs.job import Executor, threads_per_job
from nerfcl.jobs.processes import Processes
from nerfcl.jobs.ray_cluster import RayCluster
from nerfcl.reports.machine import machine


@dataclass(frozen=True)
class Workers:
    """Where runs are executed.

    Attributes:
        jobs: number of concurrent runs on one machine, which share its cores; None is one.
        ray: address of a Ray cluster, or "local"; None does not use Ray.
    """

    jobs: int | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise NerfclError(Argument("jobs", self.jobs), ": must be at least 1")

    @property
    def in_turn(self) -> bool:
        """Whether this process executes all runs itself."""
        return self.ray is None and self.jobs in (None, 1)

    def executor(self, out: Path, shared: Any, device_type: str) -> Executor | None:
        """Create the executor; None if this process executes all runs itself."""
        if self.in_turn:
            return None
        jobs = self.jobs or os.cpu_count() or 1
        threads = threads_per_job(jobs)
        if self.ray is None:
            return Processes(out, shared, jobs, threads)
        return RayCluster(out, shared, self.ray, jobs, threads, gpus=int(device_type == "cuda"))

    def describe(self, prepared: Prepared) -> str:
        """Describe the hardware that times were measured on."""
        return f"a Ray cluster, {self.ray}" if self.ray else machine(prepared.device, self.jobs or 1)
