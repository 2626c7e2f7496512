"""What a benchmark ran on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from nerfcl.reports.machine import processor as processor

_DATA = Path(__file__).resolve().parents[2] / "shared/data"
LEGO, FOX = _DATA / "nerf_synthetic/lego", _DATA / "fox"


def versions() -> str:
    """Versions of what the numbers depend on."""
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "numba", "numpy"))
    return f"{platform.system()}, Python {platform.python_version()}, {packages}"


def commit() -> str:
    """The commit that is measured, with a "+" if sources differ from it."""
    root = Path(__file__).resolve().parents[1]
    short = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=root, text=True).strip()
    differs = subprocess.call(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=root)
    return short + ("+" if differs else "")


def lego_or_builtin() -> str:
    """The lego scene where the test data is there, else the built-in scene."""
    return str(LEGO) if LEGO.is_dir() else "builtin"


def run_and_tell_peak(arguments: list[str]) -> None:
    """Runs a nerfcl command in this process and prints the most memory (MB) that it ever held."""
    import resource

    from nerfcl.cli.main import main

    if main(arguments):
        raise SystemExit(1)
    try:
        # Linux hands ru_maxrss on from the parent process; VmHWM is this program's own.
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", kilobytes / 1024)
