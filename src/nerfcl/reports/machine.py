"""Description of the machine that times were measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def machine(device: torch.device, jobs: int = 1) -> str:
    """Name the GPU if one is used, the processor if the system tells it, and the number of threads.

    Args:
        device: device that computes.
        jobs: number of concurrent runs on it.
    """
    parts = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    parts += [processor(), f"{jobs} runs at a time" if jobs > 1 else ""]
    return "; ".join(filter(None, [*parts, f"{platform.system()}, Python {platform.python_version()}"]))


def processor() -> str:
    """Name the processor, if the system tells it, and the number of threads."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = names[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        name = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
