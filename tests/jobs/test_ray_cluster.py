"""Jobs on a Ray cluster of this machine: the same results as in turn, also where a worker dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.examples import STRATEGIES, command, needs_ray, texts
from nerfcl.cli.main import main
from support.folders import assert_same_run
from support.refusals import refused

pytestmark = needs_ray


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_refused(
    address: str, shared_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = refused(main, command("compare", shared_scene, out, "--ray", address), capsys, out=out)
    assert f"--ray {address}: nothing answers there" in line


def run_by_itself(*arguments: str) -> str:
    """Run Python in a process of its own, since Ray leaves files open in the one that it was used in; its stderr."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300.0, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.usefixtures("as_many_threads")
def test_ray_compares_as_this_process_does(in_turn: Path, shared_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "ray"
    printed = run_by_itself("-m", "nerfcl", *command("compare", shared_scene, out, *STRATEGIES, "--ray", "local"))
    assert [line.split(" · ")[0] for line in printed.splitlines()] == [f"{i} of 4" for i in range(1, 5)]
    assert_same_run(in_turn, out)


MORTALS = """
import os, signal, sys
from functools import partial
from pathlib import Path
from nerfcl.errors import NerfclError
from nerfcl.jobs.job import Job, run_jobs
from nerfcl.jobs.ray_cluster import RayCluster

def die_once(marker, root, shared):
    if not marker.exists():
        marker.write_text("dead")
        os.kill(os.getpid(), signal.SIGKILL)
    (root / "mortal" / "done").write_text((root / "mortal" / "kept").read_text() + shared)

def inherit(root, shared):
    (root / "heir").mkdir()
    (root / "heir" / "done").write_text((root / "mortal" / "done").read_text() + ", inherited")

def refuse(root, shared):
    raise NerfclError("the loss is nan")

root = Path(sys.argv[1])
jobs = [
    Job("mortal", Path("mortal"), "done", partial(die_once, root / "marker")),
    Job("heir", Path("heir"), "done", inherit, Path("mortal")),
    Job("bad", Path("bad"), "done", refuse, Path("heir")),
]
try:
    run_jobs(root, jobs, ", done", RayCluster(root, ", done", "local", 1, 1))
except NerfclError as error:
    print(error, file=sys.stderr)
"""


def test_a_job_whose_ray_worker_dies_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "mortal").mkdir()
    (tmp_path / "mortal/kept").write_text("from before")
    printed = run_by_itself("-c", MORTALS, str(tmp_path))
    assert printed.splitlines()[-1] == "bad: the loss is nan"
    found = texts(tmp_path)
    assert found["marker"] == "dead"
    assert found["mortal/done"] == "from before, done"
    assert found["heir/done"] == "from before, done, inherited"
