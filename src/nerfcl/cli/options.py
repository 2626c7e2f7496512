"""What the commands can be told: frozen dataclasses whose docstrings are the manual.

An option that was not given is None (a switch is False), so that it is known what was asked for; what then holds stands
in the description's types, and in the manual for people. No heavy import here, so that `nerfcl --help` is quick.
The manual's lines begin with a letter: before others the help begins a new line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nerfcl.models.fields import FIELDS
from nerfcl.strategies import STRATEGIES

_NAMES = ", ".join(STRATEGIES)
_HOW = 'Hyperparameters may follow, and a label go before: "worst first=replay:memory-fill=topk,memory-draw=topk".'


# Flags of version 0.1 -> the present ones.
_OLD_FLAGS = {
    "--average": "--ema-decay",
    "--finest": "--max-resolution",
    "--iters-per-chunk": "--steps",
    "--past-share": "--replay-fraction",
    "--score-every": "--test-every",
}


def with_present_flags(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the present names of its flags.

    Example:
        >>> with_present_flags(["run", "--average", "0.9"])
        ['run', '--ema-decay', '0.9']
    """
    present = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        present.append(_OLD_FLAGS.get(flag.replace("_", "-"), flag) + equals + value)
    return present


def _arg(metavar: str, default: str | None = None, *, help: str | None = None) -> Any:
    """Describe an option: how its value looks, and what holds where it is not given."""
    hint = "" if default is None else f"(default: {default})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint, help=help)


@dataclass(frozen=True)
class SharedOptions:
    """What every training can be told.

    Attributes:
        config: Begin with the description in an output folder's config.json, which may have been edited; other options
            change it.
        data: Scene: "builtin" (the shipped truck) or a folder in Blender or LLFF layout.
        img_wh: Width and height that images are resized to (LANCZOS).
        spheric_poses: LLFF scenes: the cameras stand around something, instead of facing forward.
        pixel_center: Where rays pass through pixels: 0.5 is right, 0.0 reproduces the reference project's rays through
            corners.
        rays: New rays in a step.
        rays_per_pixel: Rays averaged over each pixel's area in training and evaluation: 1, 4, 9, ... With more than
            one, --rays counts rays, not pixels.
        memory_rays: Capacity of a memory of rays.
        memory_fill: Which rays a memory keeps: random, uniform (every k-th), contrast (more where the picture has
            contrast) or topk (those that the model renders worst); also reservoir, highest, lowest and loss-grid, see
            the documentation.
        memory_bytes: Capacity of a memory of compressed images, cameras included; of replay+: of rays and snapshot
            together, instead of --memory-rays.
        memory_draw: Which stored rays are replayed: random (all of them, epoch after epoch), weighted (without
            replacement, the worse rendered the likelier), or topk (the worst rendered only).
        exploration: Fraction of a weighted draw that is drawn uniformly from the others, 0 to 1.
        centre_weight: Fraction of a ray's weight that comes from its distance to the image's centre, 0 to 1.
        update_losses: Weigh stored rays by how they were rendered last, not by how they were when stored.
        soft_replay: Replay the colours that the model rendered when it had learned a task, not the true ones.
        soft_targets: Replay: for the new views, what the old model rendered is a second target, as in strategy
            soft-targets.
        replay_fraction: Fraction of a step's rays that are old ones, from 0.5 to below 1; a step of a strategy that
            replays has twice as many rays as --rays.
        learning_rate: Peak learning rate.
        optimiser: adam, sgd or radam.
        momentum: Of sgd.
        weight_decay: Added to the gradient, times the parameter.
        schedule: How the learning rate goes: warm-cosine (within each task, it rises over the first steps and falls
            along half a cosine), constant, or by epochs since the first task began: step, cosine, poly.
        decay_epochs: Schedule step: epochs at which the rate is multiplied by --decay-gamma.
        decay_gamma: Schedule step: see --decay-epochs.
        poly_exponent: Schedule poly: the rate is (1 - epoch / epochs) to this power.
        warmup_epochs: Schedules step, cosine, poly: epochs over which the rate rises first.
        warmup_multiplier: The rate after --warmup-epochs, as a multiple; at 1 it rises from 0, else from 1.
        ema_decay: Decay, at each step, of an exponential moving average of the parameters, which views are then
            rendered with; 0 is off.
        max_resolution: Field hashgrid: cells of the finest level along each axis.
        width: Field hashgrid: width of its two small networks.
        samples: Field nerf: samples of the coarse network along a ray.
        importance: Field nerf: further samples of the fine network along a ray; 0 is no fine network.
        use_disp: Field nerf: space coarse samples evenly in disparity instead of distance.
        perturb: Field nerf: how far training moves coarse samples at random, from 0 to 1.
        noise_std: Field nerf: standard deviation of the noise that training adds to densities.
        chunk: Field nerf: the most points that are evaluated at once when rendering; bounds memory.
        evaluate_every: Steps between evaluations on a few validation views within a task.
        evaluate_views: Validation views of each task that these render.
        frame_every: Steps between frames of the GIF; 0 is none.
        device: Where to compute: cpu, cuda, or auto (cuda where there is one).
        switched_off: names of switches that were given as --no-...; no option.
    """

    config: Annotated[Path | None, _arg("PATH")] = None
    data: Annotated[str | None, _arg("STR", "builtin")] = None
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT", "64 64")] = None
    spheric_poses: bool = False
    pixel_center: Annotated[float | None, _arg("FLOAT", "0.5")] = None
    rays: Annotated[int | None, _arg("INT", "1024")] = None
    rays_per_pixel: Annotated[int | None, _arg("INT", "1")] = None
    memory_rays: Annotated[int | None, _arg("INT", "20480")] = None
    memory_fill: Annotated[str | None, _arg("STR", "random; replay+: contrast")] = None
    memory_bytes: Annotated[int | None, _arg("INT", "262144; replay+: off")] = None
    memory_draw: Annotated[str | None, _arg("STR", "random")] = None
    exploration: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    centre_weight: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    update_losses: bool = False
    soft_replay: bool = False
    soft_targets: bool = False
    replay_fraction: Annotated[float | None, _arg("FLOAT", "0.5")] = None
    learning_rate: Annotated[float | None, _arg("FLOAT", "0.02; --field nerf: 0.0005")] = None
    optimiser: Annotated[str | None, _arg("STR", "adam")] = None
    momentum: Annotated[float | None, _arg("FLOAT", "0.9")] = None
    weight_decay: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    schedule: Annotated[str | None, _arg("STR", "warm-cosine")] = None
    decay_epochs: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "20")] = None
    decay_gamma: Annotated[float | None, _arg("FLOAT", "0.1")] = None
    poly_exponent: Annotated[float | None, _arg("FLOAT", "0.9")] = None
    warmup_epochs: Annotated[int | None, _arg("INT", "0")] = None
    warmup_multiplier: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    ema_decay: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    field: Annotated[str | None, _arg("STR", "hashgrid", help=f"What is learned: {', '.join(FIELDS)}.")] = None
    max_resolution: Annotated[int | None, _arg("INT", "1.25 times the images' width")] = None
    width: Annotated[int | None, _arg("INT", "32")] = None
    samples: Annotated[int | None, _arg("INT", "64")] = None
    importance: Annotated[int | None, _arg("INT", "64")] = None
    use_disp: bool = False
    perturb: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    noise_std: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    chunk: Annotated[int | None, _arg("INT", "32768")] = None
    evaluate_every: Annotated[int | None, _arg("INT", "125")] = None
    evaluate_views: Annotated[int | None, _arg("INT", "4")] = None
    frame_every: Annotated[int | None, _arg("INT", "25")] = None
    device: Annotated[str | None, _arg("STR", "auto")] = None
    switched_off: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True)
class TaskOptions(SharedOptions):
    """What a training on tasks can be told.

    Attributes:
        tasks: Tasks in order: right and left (side of the camera: world x > 0 is right), sectors:N (azimuth), or all.
        steps: Training steps for each task.
        epochs: Passes over each task's rays, instead of --steps.
    """

    tasks: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]", "right left")] = None
    steps: Annotated[int | None, _arg("INT", "1500")] = None
    epochs: Annotated[int | None, _arg("INT")] = None


@dataclass(frozen=True)
class FrameOptions(SharedOptions):
    """What a training on a stream of frames can be told.

    Attributes:
        order: Order of the frames: file (as they are), nearest (always on to the nearest camera not yet visited),
            azimuth, or a text file that lists frame numbers.
        frames: Only so many frames, the first of the order.
        chunk_frames: Frames that are learned together; they are gone afterwards, but for what the strategy keeps.
        steps: Training steps for each chunk.
        schedule: How the learning rate goes; see `nerfcl run`. A stream has no end to fall towards: constant,
            and --ema-decay.
        ema_decay: Decay, at each step, of an exponential moving average of the parameters, which views are then
            rendered with; 0 is off.
        evaluate_every: Steps between evaluations on validation views, also within chunks.
        evaluate_views: Validation views of each chunk that these render.
        test_every: Chunks between evaluations on all test views.
        seen_every: Chunks between evaluations on all frames seen so far; 0 is none.
        frame_every: Steps between frames of the GIF; 0 is none.
    """

    order: Annotated[str | None, _arg("STR", "nearest")] = None
    frames: Annotated[int | None, _arg("INT", "all")] = None
    chunk_frames: Annotated[int | None, _arg("INT", "2")] = None
    steps: Annotated[int | None, _arg("INT", "32")] = None
    schedule: Annotated[str | None, _arg("STR", "constant")] = None
    ema_decay: Annotated[float | None, _arg("FLOAT", "0.98")] = None
    evaluate_every: Annotated[int | None, _arg("INT", "320")] = None
    evaluate_views: Annotated[int | None, _arg("INT", "1")] = None
    test_every: Annotated[int | None, _arg("INT", "a fifth of the stream")] = None
    seen_every: Annotated[int | None, _arg("INT", "a twenty-fifth of the stream")] = None
    frame_every: Annotated[int | None, _arg("INT", "a sixty-fourth of the stream")] = None


@dataclass(frozen=True)
class SingleOptions:
    """What a single run can be told.

    Attributes:
        seed: Seed of everything random.
    """

    strategy: Annotated[str | None, _arg("STR", "replay", help=f"How the past is used: {_NAMES}. {_HOW}")] = None
    seed: Annotated[int | None, _arg("INT", "0")] = None


@dataclass(frozen=True)
class ManyOptions:
    """What a comparison can be told: all its configurations are trained with all its seeds.

    Attributes:
        seeds: A single number is how many seeds there are, from 0 on (0 is seed 0 alone); several are the seeds
            themselves. More than one give mean and standard deviation.
        budget_bytes: Bytes that may be kept of the past, in units of 1024: 64K 256K 1M. A strategy with a memory
            is run once for each budget, up to the first that has room for everything; it overrules --memory-rays
            and --memory-bytes. Strategies that are given a size of their own stay as they are, and so do those
            without a memory; these show what they keep.
        jobs: Runs at a time on one machine, which divide its cores, unless OMP_NUM_THREADS says how many threads each
            has; with as many threads for a run, results are the same.
        ray: Do the runs on a Ray cluster: its address, as ray.init takes it, or "local", which starts one here; needs
            pip install 'nerfcl[cluster]' on all machines. Only whole runs come back: what was stopped begins again.
    """

    strategies: Annotated[
        tuple[str, ...] | None,
        _arg("STR [STR ...]", "finetune replay joint", help=f"What is compared: {_NAMES}; or all of them: all. {_HOW}"),
    ] = None
    seeds: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "0")] = None
    budget_bytes: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]")] = None
    jobs: Annotated[int | None, _arg("INT", "1; with --ray one for each core")] = None
    ray: Annotated[str | None, _arg("STR")] = None


@dataclass(frozen=True)
class Run(SingleOptions, TaskOptions):
    """Train one strategy on a sequence of tasks, and show what was forgotten.

    Attributes:
        out: Folder for results; a run that was stopped goes on from its last finished task.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/STRATEGY")] = None


@dataclass(frozen=True)
class Compare(ManyOptions, TaskOptions):
    """Train several strategies side by side, on the same first task, and print one table.

    Attributes:
        out: Folder for results; a comparison that was stopped goes on where it was.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/compare")] = None


@dataclass(frozen=True)
class Online(SingleOptions, FrameOptions):
    """Learn a stream of frames, a chunk at a time, in bounded memory; nobody says where a task ends.

    Attributes:
        watch: Instead of --data: a folder that is being written to. Frames are taken from its growing transforms.json
            as they are completed, until the marker file `done` appears in it or the program is stopped.
        box: With --watch: centre (x y z) and edge of the cube that is mapped, world units.
        out: Folder for results; what was stopped or killed goes on from its last finished chunk.
    """

    watch: Annotated[Path | None, _arg("PATH")] = None
    box: Annotated[tuple[float, float, float, float] | None, _arg("FLOAT FLOAT FLOAT FLOAT", "what the first chunk's cameras look at")] = None  # fmt: skip  # noqa: E501
    out: Annotated[Path | None, _arg("PATH", "outputs/online-STRATEGY")] = None


@dataclass(frozen=True)
class CompareOnline(ManyOptions, FrameOptions):
    """Learn one stream with several strategies, and print one table; joint, with all frames at once, is the bound.

    Attributes:
        out: Folder for results; a comparison that was stopped or killed goes on from its last finished chunk.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/compare-online")] = None


@dataclass(frozen=True)
class Evaluate:
    """Render views with any checkpoint, score them and save the pictures.

    Attributes:
        checkpoint: A .pt or .ckpt file that a run, an OnlineLearner or one of the reference project's programs wrote.
        data: Scene: "builtin" or a scene folder.
        img_wh: Width and height to render.
        split: Which views: train, val or test.
        view: Views of which task: right, left, all, or "sector K/N".
        rays_per_pixel: Rays averaged over each pixel's area: 1, 4, 9, ...
        out: Folder for the pictures and scores.json.
        device: Where to compute: cpu, cuda, or auto (cuda where there is one).
    """

    checkpoint: tyro.conf.Positional[Path]
    data: Annotated[str | None, _arg("STR", "that of the run")] = None
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT", "those of the run")] = None
    split: Annotated[str | None, _arg("STR", "test; of a watched folder: train")] = None
    view: str = "all"
    rays_per_pixel: Annotated[int | None, _arg("INT", "those of the run")] = None
    out: Annotated[Path | None, _arg("PATH", "eval/SPLIT-VIEW beside the checkpoint's folder")] = None
    device: str = "auto"


@dataclass(frozen=True)
class MakeScene:
    """Render the built-in truck along a camera trajectory into a scene folder; needs pip install 'nerfcl[render]'.

    The images of the built-in scene itself: --trajectory hemisphere --frames 200 --img-wh 128 128 --samples 256

    Attributes:
        out: Folder for the scene, in Blender layout; what was stopped goes on from its last finished image.
        trajectory: spiral (two and a half turns while the camera rises from 10 to 70 degrees; each frame is next to the
            one before) or hemisphere (random cameras, half of them for testing).
        frames: Train and test views together; validation views come on top.
        chunks: Spiral: equal parts of the trajectory, of each of which a fifth are test views.
        img_wh: Width and height of the images.
        samples: Rays for each pixel: fewer are quicker, and noisier. Mitsuba may take a few more.
        seed: Seed of everything random: which frames are test views, random cameras, the noise of the rendering.
        jobs: Processes that render; 0 is one for each core.
    """

    out: Path
    trajectory: str = "spiral"
    frames: int = 5000
    chunks: int = 10
    img_wh: tuple[int, int] = (64, 64)
    samples: int = 144
    seed: int = 0
    jobs: int = 0
