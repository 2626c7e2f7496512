"""What the commands can be told: frozen dataclasses whose field docstrings are the manual.

An option that was not given is None (a switch is False), so that it is known what was asked for; what then holds stands
in the description's types, and in the manual for people. No heavy import here, so that `nerfcl --help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nerfcl.models.fields import FIELDS
from nerfcl.strategies import STRATEGIES

_NAMES = ", ".join(STRATEGIES)
_HOW = 'Hyperparameters may follow, and a label go before: "worst first=replay:memory-fill=topk,memory-draw=topk".'


def _arg(metavar: str, default: str | None = None, *, old: str | None = None, help: str | None = None) -> Any:
    """Describe an option: how its value looks, what holds where it is not given, what it was called before."""
    hint = "" if default is None else f"(default: {default})"
    return tyro.conf.arg(
        metavar=metavar, help_behavior_hint=hint, aliases=None if old is None else (f"--{old}",), help=help
    )


@dataclass(frozen=True)
class SharedOptions:
    """What every training can be told."""

    config: Annotated[Path | None, _arg("PATH")] = None
    """Begin with the description in an output folder's config.json, which may have been edited; other options change
    it."""
    data: Annotated[str | None, _arg("STR", "builtin")] = None
    """Scene: "builtin" (the shipped truck) or a folder in Blender or LLFF layout."""
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT", "64 64")] = None
    """Width and height that images are resized to (LANCZOS)."""
    spheric_poses: bool = False
    """LLFF scenes: the cameras stand around something, instead of facing forward."""
    pixel_center: Annotated[float | None, _arg("FLOAT", "0.5")] = None
    """Where rays pass through pixels: 0.5 is right, 0.0 reproduces the reference project's rays through corners."""
    rays: Annotated[int | None, _arg("INT", "1024")] = None
    """New rays in a step."""
    rays_per_pixel: Annotated[int | None, _arg("INT", "1")] = None
    """Rays averaged over each pixel's area in training and evaluation: 1, 4, 9, ... With more than one, --rays counts
    rays, not pixels."""
    memory_rays: Annotated[int | None, _arg("INT", "20480")] = None
    """Capacity of a memory of rays."""
    memory_fill: Annotated[str | None, _arg("STR", "random; replay+: contrast")] = None
    """Which rays a memory keeps: random, uniform (every k-th), contrast (more where the picture has contrast) or topk
    (those that the model renders worst); also reservoir, highest, lowest and loss-grid, see the documentation."""
    memory_bytes: Annotated[int | None, _arg("INT", "262144; replay+: off")] = None
    """Capacity of a memory of compressed images, cameras included; of replay+: of rays and snapshot together, instead
    of --memory-rays."""
    memory_draw: Annotated[str | None, _arg("STR", "random")] = None
    """Which stored rays are replayed: random (all of them, epoch after epoch), weighted (without replacement, the worse
    rendered the likelier), or topk (the worst rendered only)."""
    exploration: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    """Fraction of a weighted draw that is drawn uniformly from the others, 0 to 1."""
    centre_weight: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    """Fraction of a ray's weight that comes from its distance to the image's centre, 0 to 1."""
    update_losses: bool = False
    """Weigh stored rays by how they were rendered last, not by how they were when stored."""
    soft_replay: bool = False
    """Replay the colours that the model rendered when it had learned a task, not the true ones."""
    soft_targets: bool = False
    """Replay: for the new views, what the old model rendered is a second target, as in strategy soft-targets."""
    replay_fraction: Annotated[float | None, _arg("FLOAT", "0.5", old="past-share")] = None
    """Fraction of a step's rays that are old ones, from 0.5 to below 1; a step of a strategy that replays has twice as
    many rays as --rays."""
    learning_rate: Annotated[float | None, _arg("FLOAT", "0.02; --field nerf: 0.0005")] = None
    """Peak learning rate."""
    optimiser: Annotated[str | None, _arg("STR", "adam")] = None
    """adam, sgd or radam."""
    momentum: Annotated[float | None, _arg("FLOAT", "0.9")] = None
    """Of sgd."""
    weight_decay: Annotated[float | None, _arg("FLOAT", "0.0")] = None
    """Added to the gradient, times the parameter."""
    schedule: Annotated[str | None, _arg("STR", "warm-cosine")] = None
    """How the learning rate goes: warm-cosine (within each task, it rises over the first steps and falls along half a
    cosine), constant, or by epochs since the first task began: step, cosine, poly."""
    decay_epochs: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "20")] = None
    """Schedule step: epochs at which the rate is multiplied by --decay-gamma."""
    decay_gamma: Annotated[float | None, _arg("FLOAT", "0.1")] = None
    """Schedule step: see --decay-epochs."""
    poly_exponent: Annotated[float | None, _arg("FLOAT", "0.9")] = None
    """Schedule poly: the rate is (1 - epoch / epochs) to this power."""
    warmup_epochs: Annotated[int | None, _arg("INT", "0")] = None
    """Schedules step, cosine, poly: epochs over which the rate rises first."""
    warmup_multiplier: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    """The rate after --warmup-epochs, as a multiple; at 1 it rises from 0, else from 1."""
    ema_decay: Annotated[float | None, _arg("FLOAT", "0.0", old="average")] = None
    """Decay, at each step, of an exponential moving average of the parameters, which views are then rendered with; 0 is
    off."""
    field: Annotated[str | None, _arg("STR", "hashgrid", help=f"What is learned: {', '.join(FIELDS)}.")] = None
    max_resolution: Annotated[int | None, _arg("INT", "1.25 times the images' width", old="finest")] = None
    """Field hashgrid: cells of the finest level along each axis."""
    width: Annotated[int | None, _arg("INT", "32")] = None
    """Field hashgrid: width of its two small networks."""
    samples: Annotated[int | None, _arg("INT", "64")] = None
    """Field nerf: samples of the coarse network along a ray."""
    importance: Annotated[int | None, _arg("INT", "64")] = None
    """Field nerf: further samples of the fine network along a ray; 0 is no fine network."""
    use_disp: bool = False
    """Field nerf: space coarse samples evenly in disparity instead of distance."""
    perturb: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    """Field nerf: how far training moves coarse samples at random, from 0 to 1."""
    noise_std: Annotated[float | None, _arg("FLOAT", "1.0")] = None
    """Field nerf: standard deviation of the noise that training adds to densities."""
    chunk: Annotated[int | None, _arg("INT", "32768")] = None
    """Field nerf: the most points that are evaluated at once when rendering; bounds memory."""
    evaluate_every: Annotated[int | None, _arg("INT", "125")] = None
    """Steps between evaluations on a few validation views within a task."""
    evaluate_views: Annotated[int | None, _arg("INT", "4")] = None
    """Validation views of each task that these render."""
    frame_every: Annotated[int | None, _arg("INT", "25")] = None
    """Steps between frames of the GIF; 0 is none."""
    device: Annotated[str | None, _arg("STR", "auto")] = None
    """Where to compute: cpu, cuda, or auto (cuda where there is one)."""


@dataclass(frozen=True)
class TaskOptions(SharedOptions):
    """What a training on tasks can be told."""

    tasks: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]", "right left")] = None
    """Tasks in order: right and left (side of the camera: world x > 0 is right), sectors:N (azimuth), or all."""
    steps: Annotated[int | None, _arg("INT", "1500")] = None
    """Training steps for each task."""
    epochs: Annotated[int | None, _arg("INT")] = None
    """Passes over each task's rays, instead of --steps."""


@dataclass(frozen=True)
class FrameOptions(SharedOptions):
    """What a training on a stream of frames can be told."""

    order: Annotated[str | None, _arg("STR", "nearest")] = None
    """Order of the frames: file (as they are), nearest (always on to the nearest camera not yet visited), azimuth, or a
    text file that lists frame numbers."""
    frames: Annotated[int | None, _arg("INT", "all")] = None
    """Only so many frames, the first of the order."""
    chunk_frames: Annotated[int | None, _arg("INT", "2")] = None
    """Frames that are learned together; they are gone afterwards, but for what the strategy keeps."""
    iters_per_chunk: Annotated[int | None, _arg("INT", "32")] = None
    """Training steps for each chunk."""
    schedule: Annotated[str | None, _arg("STR", "constant")] = None
    """How the learning rate goes; see `nerfcl run`. A stream has no end to fall towards: constant, and --ema-decay."""
    ema_decay: Annotated[float | None, _arg("FLOAT", "0.98", old="average")] = None
    """Decay, at each step, of an exponential moving average of the parameters, which views are then rendered with; 0 is
    off."""
    evaluate_every: Annotated[int | None, _arg("INT", "320")] = None
    """Steps between evaluations on validation views, also within chunks."""
    evaluate_views: Annotated[int | None, _arg("INT", "1")] = None
    """Validation views of each chunk that these render."""
    test_every: Annotated[int | None, _arg("INT", "a fifth of the stream", old="score-every")] = None
    """Chunks between evaluations on all test views."""
    seen_every: Annotated[int | None, _arg("INT", "a twenty-fifth of the stream")] = None
    """Chunks between evaluations on all frames seen so far; 0 is none."""
    frame_every: Annotated[int | None, _arg("INT", "a sixty-fourth of the stream")] = None
    """Steps between frames of the GIF; 0 is none."""


@dataclass(frozen=True)
class SingleOptions:
    """What a single run can be told."""

    strategy: Annotated[str | None, _arg("STR", "replay", help=f"How the past is used: {_NAMES}. {_HOW}")] = None
    seed: Annotated[int | None, _arg("INT", "0")] = None
    """Seed of everything random."""


@dataclass(frozen=True)
class ManyOptions:
    """What a comparison can be told: all its configurations are trained with all its seeds."""

    strategies: Annotated[
        tuple[str, ...] | None,
        _arg("STR [STR ...]", "finetune replay joint", help=f"What is compared: {_NAMES}; or all of them: all. {_HOW}"),
    ] = None
    seeds: Annotated[tuple[int, ...] | None, _arg("INT [INT ...]", "0")] = None
    """A single number is how many seeds there are, from 0 on (0 is seed 0 alone); several are the seeds themselves.
    More than one give mean and standard deviation."""
    budget_bytes: Annotated[tuple[str, ...] | None, _arg("STR [STR ...]")] = None
    """Bytes that may be kept of the past, in units of 1024: 64K 256K 1M. A strategy with a memory is run once for each
    budget, up to the first that has room for everything; it overrules --memory-rays and --memory-bytes. Strategies that
    are given a size of their own stay as they are, and so do those without a memory; these show what they keep."""
    jobs: Annotated[int | None, _arg("INT", "1; with --ray one for each core")] = None
    """Runs at a time on one machine, which divide its cores, unless OMP_NUM_THREADS says how many threads each has;
    with as many threads for a run, results are the same."""
    ray: Annotated[str | None, _arg("STR")] = None
    """Do the runs on a Ray cluster: its address, as ray.init takes it, or "local", which starts one here; needs
    pip install 'nerfcl[cluster]' on all machines. Only whole runs come back: what was stopped begins again."""


@dataclass(frozen=True)
class Run(SingleOptions, TaskOptions):
    """Train one strategy on a sequence of tasks, and show what was forgotten."""

    out: Annotated[Path | None, _arg("PATH", "outputs/STRATEGY")] = None
    """Folder for results; a run that was stopped goes on from its last finished task."""


@dataclass(frozen=True)
class Compare(ManyOptions, TaskOptions):
    """Train several strategies side by side, on the same first task, and print one table."""

    out: Annotated[Path | None, _arg("PATH", "outputs/compare")] = None
    """Folder for results; a comparison that was stopped goes on where it was."""


@dataclass(frozen=True)
class Online(SingleOptions, FrameOptions):
    """Learn a stream of frames, a chunk at a time, in bounded memory; nobody says where a task ends."""

    watch: Annotated[Path | None, _arg("PATH")] = None
    """Instead of --data: a folder that is being written to. Frames are taken from its growing transforms.json as they
    are completed, until the marker file `done` appears in it or the program is stopped."""
    box: Annotated[tuple[float, float, float, float] | None, _arg("FLOAT FLOAT FLOAT FLOAT", "what the first chunk's cameras look at")] = None  # fmt: skip  # noqa: E501
    """With --watch: centre (x y z) and edge of the cube that is mapped, world units."""
    out: Annotated[Path | None, _arg("PATH", "outputs/online-STRATEGY")] = None
    """Folder for results; what was stopped or killed goes on from its last finished chunk."""


@dataclass(frozen=True)
class CompareOnline(ManyOptions, FrameOptions):
    """Learn one stream with several strategies, and print one table; joint, with all frames at once, is the bound."""

    out: Annotated[Path | None, _arg("PATH", "outputs/compare-online")] = None
    """Folder for results; a comparison that was stopped or killed goes on from its last finished chunk."""


@dataclass(frozen=True)
class Evaluate:
    """Render views with any checkpoint, score them and save the pictures."""

    checkpoint: tyro.conf.Positional[Path]
    """A .pt or .ckpt file that a run, an OnlineLearner or one of the reference project's programs wrote."""
    data: Annotated[str | None, _arg("STR", "that of the run")] = None
    """Scene: "builtin" or a scene folder."""
    img_wh: Annotated[tuple[int, int] | None, _arg("INT INT", "those of the run")] = None
    """Width and height to render."""
    split: Annotated[str | None, _arg("STR", "test; of a watched folder: train")] = None
    """Which views: train, val or test."""
    view: str = "all"
    """Views of which task: right, left, all, or "sector K/N"."""
    rays_per_pixel: Annotated[int | None, _arg("INT", "those of the run")] = None
    """Rays averaged over each pixel's area: 1, 4, 9, ..."""
    out: Annotated[Path | None, _arg("PATH", "eval/SPLIT-VIEW beside the checkpoint's folder")] = None
    """Folder for the pictures and scores.json."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto (cuda where there is one)."""


@dataclass(frozen=True)
class MakeScene:
    """Render the built-in truck along a camera trajectory into a scene folder; needs pip install 'nerfcl[render]'.

    The images of the built-in scene itself: --trajectory hemisphere --frames 200 --img-wh 128 128 --samples 256
    """

    out: Path
    """Folder for the scene, in Blender layout; what was stopped goes on from its last finished image."""
    trajectory: str = "spiral"
    """spiral (two and a half turns while the camera rises from 10 to 70 degrees; each frame is next to the one before)
    or hemisphere (random cameras, half of them for testing)."""
    frames: int = 5000
    """Train and test views together; validation views come on top."""
    chunks: int = 10
    """Spiral: equal parts of the trajectory, of each of which a fifth are test views."""
    img_wh: tuple[int, int] = (64, 64)
    """Width and height of the images."""
    samples: int = 144
    """Rays for each pixel: fewer are quicker, and noisier. Mitsuba may take a few more."""
    seed: int = 0
    """Seed of everything random: which frames are test views, random cameras, the noise of the rendering."""
    jobs: int = 0
    """Processes that render; 0 is one for each core."""
