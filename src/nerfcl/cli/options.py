"""Options of the commands: frozen dataclasses whose docstrings are the manual.

An option that was not given is None (a switch is False), to tell given options from defaults. The defaults are defined
by the types of the description; here they are only shown. No heavy imports, so that `nerfcl --help` is fast.
Every line of a multi-line entry must begin with a letter, or else the help starts a new line there.
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
_HOW = 'A label may precede and hyperparameters follow: "worst first=replay:memory-fill=topk,memory-draw=topk".'


# Flags of version 0.1 -> current flags.
_OLD_FLAGS = {
    "--average": "--ema-decay",
    "--finest": "--max-resolution",
    "--iters-per-chunk": "--steps",
    "--past-share": "--replay-fraction",
    "--score-every": "--test-every",
}


def with_present_flags(arguments: Sequence[str]) -> list[str]:
    """Replace old names of flags in a command line by the current ones.

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
    """Describe an option: the form of its value, and its default."""
    hint = "" if default is None else f"(default: {default})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint, help=help)


@dataclass(frozen=True)
class SharedOptions:
    """Options of every command that trains.

    Attributes:
        config: Start from the description in an output folder's config.json, which may have been edited; other options
            override it.
        data: Scene: "builtin" (the built-in truck), or a folder with a transforms.json or in LLFF layout.
        img_wh: Width and height to resize images to (LANCZOS), instead of --max-side.
        max_side: Largest width and height of images in pixels; they keep their shape.
        spheric_poses: LLFF scenes: the cameras surround an object, instead of facing forward.
        pixel_center: Where rays pass through pixels: 0.5 is the centre, 0.0 reproduces the reference project.
        rays: New rays per step.
        rays_per_pixel: Rays averaged over each pixel's area in training and evaluation: 1, 4, 9, ... If more than
            one, --rays counts rays, not pixels.
        memory_rays: Capacity of a ray memory, in rays.
        memory_fill: Which rays a memory keeps: random, uniform (every k-th), contrast (more where images have
            contrast) or topk (those of highest loss); also reservoir, highest, lowest and loss-grid, see
            the documentation.
        memory_bytes: Capacity of a memory of compressed images, cameras included; with replay+, of rays and snapshot
            together, instead of --memory-rays.
        memory_draw: Which stored rays are replayed: random (all of them, epoch after epoch), weighted (without
            replacement, with probability proportional to weight), or topk (those of highest loss).
        exploration: Fraction of a weighted draw that comes uniformly from the other rays, 0 to 1.
        centre_weight: Fraction of a ray's weight that depends on its distance to the image centre, 0 to 1.
        update_losses: Weight stored rays by their latest loss, not by their loss when stored.
        soft_replay: Replay the colours that the model rendered after learning a task, instead of the true ones.
        soft_targets: Strategy replay: on new views, also train towards the old model's renderings, like strategy
            soft-targets.
        replay_fraction: Fraction of past rays in a step, from 0.5 to below 1; a step of a strategy that replays has
            twice as many rays as --rays.
        learning_rate: Peak learning rate.
        optimiser: Optimiser: adam, sgd or radam.
        momentum: Momentum of sgd.
        weight_decay: Factor on the parameters, which are added to their gradients.
        opacity_weight: Weight of the mean opacity of the rendered pixels in the loss; clears fog of the background's
            colour.
        schedule: Learning rate schedule: warm-cosine (within each task, a warm-up and then half a cosine), constant,
            or by epochs since the start of the first task: step, cosine, poly.
        decay_epochs: Schedule step: epochs at which the rate is multiplied by --decay-gamma.
        decay_gamma: Schedule step: decay factor, see --decay-epochs.
        poly_exponent: Schedule poly: the rate is (1 - epoch / epochs) to this power.
        warmup_epochs: Schedules step, cosine, poly: warm-up epochs.
        warmup_multiplier: Factor on the rate after --warmup-epochs; if 1, the rate rises from 0, else from its peak.
        ema_decay: Decay per step of an exponential moving average of the parameters, used for rendering; 0 disables it.
        max_resolution: Field hashgrid: cells of the finest level along each axis.
        width: Field hashgrid: width of its two MLPs.
        samples: Field nerf: coarse samples per ray.
        importance: Field nerf: additional fine samples per ray; 0 disables the fine network.
        use_disp: Field nerf: space coarse samples evenly in disparity instead of distance.
        perturb: Field nerf: random jitter of coarse samples in training, 0 to 1.
        noise_std: Field nerf: standard deviation of the noise added to densities in training.
        chunk: Field nerf: maximum points evaluated at once when rendering; bounds memory.
        evaluate_every: Steps between evaluations on validation views within a task.
        evaluate_views: Validation views per task in these evaluations.
        frame_every: Steps between frames of the GIF; 0 disables it.
        device: Device to compute on: cpu, cuda, or auto (cuda if available).
        switched_off: Switches given as --no-...; not an option itself.
    """

    config: Annotated[Path | None, _arg("PATH")] = None
    data: Annotated[str | None, _arg("STR", "builtin")] = None
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT")] = None
    max_side: Annotated[int | None, _arg("INT", "256; images with transparency: 64")] = None
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
    opacity_weight: Annotated[float | None, _arg("FLOAT", "0.001; --field nerf: 0.0")] = None
    schedule: Annotated[str | None, _arg("STR", "warm-cosine")] = None
    decay_epochs: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "20")] = None
    decay_gamma: Annotated[float | None, _arg("FLOAT", "0.1")] = None
    poly_exponent: Annotated[float | None, _arg("FLOAT", "0.9")] = None
    warmup_epochs: Annotated[int | None, _arg("INT", "0")] = None
    warmup_multiplier: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    ema_decay: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    field: Annotated[str | None, _arg("STR", "hashgrid", help=f"Field to train: {', '.join(FIELDS)}.")] = None
    max_resolution: Annotated[int | None, _arg("INT", "the images' width - 1")] = None
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
    """Options of training on tasks.

    Attributes:
        tasks: Tasks in order: right and left (side of the camera: world x > 0 is right), sectors:N (azimuth), or all.
        steps: Training steps per task.
        epochs: Passes over each task's rays, instead of --steps.
    """

    tasks: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]", "right left")] = None
    steps: Annotated[int | None, _arg("INT", "1500")] = None
    epochs: Annotated[int | None, _arg("INT")] = None


@dataclass(frozen=True)
class FrameOptions(SharedOptions):
    """Options of training on a stream of frames.

    Attributes:
        order: Order of the frames: file (as stored), nearest (always the nearest camera not visited yet),
            azimuth, or a text file that lists frame numbers.
        frames: Number of frames, the first in this order.
        chunk_frames: Frames learned together; they are then discarded, except for what the strategy keeps.
        steps: Training steps per chunk.
        schedule: Learning rate schedule, see `nerfcl run`; constant with --ema-decay suits streams, which have no end
            to decay towards.
        ema_decay: Decay per step of an exponential moving average of the parameters, used for rendering; 0 disables it.
        evaluate_every: Steps between evaluations on validation views, counted across chunks.
        evaluate_views: Validation views per chunk in these evaluations.
        test_every: Chunks between evaluations on all test views.
        seen_every: Chunks between evaluations on all frames seen so far; 0 disables them.
        frame_every: Steps between frames of the GIF; 0 disables it.
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
    """Options of a single run.

    Attributes:
        seed: Seed of all randomness.
    """

    strategy: Annotated[str | None, _arg("STR", "replay", help=f"How the past is used: {_NAMES}. {_HOW}")] = None
    seed: Annotated[int | None, _arg("INT", "0")] = None


@dataclass(frozen=True)
class ManyOptions:
    """Options of a comparison, in which every configuration is trained with every seed.

    Attributes:
        seeds: A single number is the number of seeds, from 0 on (0 is seed 0 alone); several are the seeds
            themselves. More than one seed gives mean and standard deviation.
        budget_bytes: Bytes that may be kept of the past, in units of 1024: 64K 256K 1M. A strategy with a memory
            is run once per budget, up to the first that holds everything, regardless of --memory-rays
            and --memory-bytes. Strategies without a memory, or with a size set in their configuration, are run once,
            and show what they keep.
        jobs: Concurrent runs on this machine, which share its cores, unless OMP_NUM_THREADS sets the threads of each;
            with the same number of threads per run, results are the same.
        ray: Execute runs on a Ray cluster: its address for ray.init, or "local" to start one on this machine; needs
            pip install 'nerfcl[cluster]' on all nodes. Only finished runs are returned: interrupted ones start over.
    """

    strategies: Annotated[
        tuple[str, ...] | None,
        _arg("STR [STR ...]", "finetune replay joint", help=f"Strategies to compare: {_NAMES}; or all. {_HOW}"),
    ] = None
    seeds: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "0")] = None
    budget_bytes: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]")] = None
    jobs: Annotated[int | None, _arg("INT", "1; with --ray one per core")] = None
    ray: Annotated[str | None, _arg("STR")] = None


@dataclass(frozen=True)
class Run(SingleOptions, TaskOptions):
    """Train one strategy on a sequence of tasks, and show what was forgotten.

    Attributes:
        out: Output folder; an interrupted run resumes from its last finished task.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/STRATEGY")] = None


@dataclass(frozen=True)
class Compare(ManyOptions, TaskOptions):
    """Train several strategies side by side, sharing the first task, and print one table.

    Attributes:
        out: Output folder; an interrupted comparison resumes from it.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/compare")] = None


@dataclass(frozen=True)
class Online(SingleOptions, FrameOptions):
    """Learn a stream of frames, a chunk at a time, in bounded memory and without task boundaries.

    Attributes:
        watch: Folder that is being written to, instead of --data. Frames are taken from its growing transforms.json
            as they are completed, until the marker file `done` appears in it or the program is stopped.
        box: With --watch: centre (x y z) and edge length of the mapped cube, world units.
        out: Output folder; an interrupted run resumes from its last finished chunk.
    """

    watch: Annotated[Path | None, _arg("PATH")] = None
    box: Annotated[tuple[float, float, float, float] | None, _arg("FLOAT FLOAT FLOAT FLOAT", "what the first chunk's cameras look at")] = None  # fmt: skip  # noqa: E501
    out: Annotated[Path | None, _arg("PATH", "outputs/online-STRATEGY")] = None


@dataclass(frozen=True)
class CompareOnline(ManyOptions, FrameOptions):
    """Learn one stream with several strategies, and print one table; joint, on all frames at once, is the upper bound.

    Attributes:
        out: Output folder; an interrupted comparison resumes from its last finished chunk.
    """

    out: Annotated[Path | None, _arg("PATH", "outputs/compare-online")] = None


@dataclass(frozen=True)
class Evaluate:
    """Render views with any checkpoint, score them and save the images.

    Attributes:
        checkpoint: A .pt or .ckpt file written by a run, an OnlineLearner, train.py or train_online.py.
        data: Scene: "builtin" or a scene folder.
        img_wh: Width and height to render, instead of --max-side.
        max_side: Largest width and height to render in pixels.
        split: Split of the views: train, val or test.
        view: Task whose views are rendered: right, left, all, or "sector K/N".
        rays_per_pixel: Rays averaged over each pixel's area: 1, 4, 9, ...
        out: Folder for images and scores.json.
        device: Device to compute on: cpu, cuda, or auto (cuda if available).
    """

    checkpoint: tyro.conf.Positional[Path]
    data: Annotated[str | None, _arg("STR", "the run's")] = None
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT", "the run's")] = None
    max_side: Annotated[int | None, _arg("INT", "the run's")] = None
    split: Annotated[str | None, _arg("STR", "test; watched folder: train")] = None
    view: str = "all"
    rays_per_pixel: Annotated[int | None, _arg("INT", "the run's")] = None
    out: Annotated[Path | None, _arg("PATH", "eval/SPLIT-VIEW next to the checkpoint's folder")] = None
    device: str = "auto"


@dataclass(frozen=True)
class MakeScene:
    """Render the built-in truck along a camera trajectory into a scene folder; needs pip install 'nerfcl[render]'.

    The images of the built-in scene itself: --trajectory hemisphere --frames 200 --img-wh 128 128 --samples 256

    Attributes:
        out: Folder for the scene, in Blender layout; an interrupted run resumes from its last finished image.
        trajectory: spiral (two and a half turns while the camera rises from 10 to 70 degrees; successive frames are
            neighbours) or hemisphere (random cameras, half of them for testing).
        frames: Number of train and test views together; validation views are added.
        chunks: Spiral: number of equal parts of the trajectory; a fifth of each are test views.
        img_wh: Width and height of the images.
        samples: Rays per pixel; fewer are faster but noisier. Mitsuba may take a few more.
        seed: Seed of all randomness: choice of test views, random cameras, rendering noise.
        jobs: Number of rendering processes; 0 is one per core.
    """

    out: Path
    trajectory: str = "spiral"
    frames: int = 5000
    chunks: int = 10
    img_wh: tuple[int, int] = (64, 64)
    samples: int = 144
    seed: int = 0
    jobs: int = 0
