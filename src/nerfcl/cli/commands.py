"""The commands: each builds a description, executes it, and prints what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfcl.cli import options
from nerfcl.cli.describe import describe_comparison, describe_run
from nerfcl.config.streams import WatchedStream
from nerfcl.experiments.compare import compare
from nerfcl.experiments.evaluate import EvaluationRequest, evaluate_checkpoint
from nerfcl.experiments.execute import execute
from nerfcl.experiments.make_scene import MakeSceneSettings, make_scene
from nerfcl.experiments.workers import Workers
from nerfcl.files import as_file_name
from nerfcl.reports.run.table import run_table
from nerfcl.reports.terminal import print_table
from nerfcl.reports.text import human_bytes


def run_command(command: Any, line: str) -> None:
    """Run a command; see its class.

    Args:
        command: parsed command line.
        line: the command line as text, to reproduce results.

    Raises:
        NerfclError: the user can fix the error.
    """
    match command:
        case options.Run():
            _run(command, line)
        case options.Online():
            _online(command, line)
        case options.Compare():
            workers = Workers(command.jobs, command.ray)
            compare(describe_comparison(command), command.out or Path("outputs/compare"), workers, command=line)
        case options.CompareOnline():
            workers = Workers(command.jobs, command.ray)
            compare(describe_comparison(command), command.out or Path("outputs/compare-online"), workers, command=line)
        case options.Evaluate():
            evaluate_checkpoint(
                EvaluationRequest(
                    command.checkpoint,
                    command.data,
                    command.img_wh,
                    command.max_side,
                    command.split,
                    command.view,
                    command.rays_per_pixel,
                    command.out,
                    command.device,
                )
            )
        case options.MakeScene():
            settings = MakeSceneSettings(
                trajectory=command.trajectory,
                frames=command.frames,
                chunks=command.chunks,
                img_wh=command.img_wh,
                samples=command.samples,
                seed=command.seed,
            )
            make_scene(settings, command.out, command.jobs)


def _run(command: options.Run, line: str) -> None:
    experiment, label = describe_run(command)
    folder = command.out or Path("outputs") / as_file_name(label)
    results = execute(experiment, folder, label=label, command=line)
    print_table(run_table(results["R"], results["tasks"]))
    print(f"results, pictures and checkpoints: {folder}")


def _online(command: options.Online, line: str) -> None:
    experiment, label = describe_run(command)
    folder = command.out or Path("outputs") / f"online-{as_file_name(label)}"
    results = execute(experiment, folder, label=label, command=line)
    if isinstance(experiment.stream, WatchedStream):
        print(f"{results['frames']['seen']} frames seen; results and checkpoint: {folder}")
        return
    frames, seconds = results["frames"], results["seconds"]["training"]
    kept = human_bytes(results["memory_bytes"])
    print(f"{frames} frames, {frames / seconds:.1f} a second; {kept} kept of the past")
    print(f"PSNR of all test views: {results['psnr']:.2f} dB")
    print(f"results, pictures and checkpoint: {folder}")
