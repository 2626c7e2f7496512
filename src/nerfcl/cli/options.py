"""What the commands can be told: frozen dataclasses whose field docstrings are the manual.

No heavy import here, so that `nerfcl --help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nerfcl.strategies import STRATEGIES

_STRATEGY_NAMES = ", ".join(STRATEGIES)
_ROWS = 'Options of its own may follow, and a label go before: "worst first=replay:memory-fill=topk,memory-draw=topk".'


@dataclass(frozen=True)
class Training:
    """What every training is told."""

    data: str = "builtin"
    """Scene: "builtin" (the shipped truck) or a folder in Blender or LLFF layout."""
    img_wh: tuple[int, int] = (64, 64)
    """Width and height that images are resized to (LANCZOS)."""
    spheric_poses: bool = False
    """LLFF scenes: taken from all around, not facing forward."""
    rays: int = 1024
    """New rays a step."""
    rays_per_pixel: int = 1
    """Rays averaged over each pixel's area in training and evaluation: 1, 4, 9, ... With more than one, --rays counts
    rays, not pixels."""
    memory_rays: int = 20_480
    """Capacity of the memory of strategies that store rays."""
    memory_fill: str | None = None
    """Which rays replay stores: random, uniform (every k-th), contrast (more where the picture has contrast), or topk
    (those that the model renders worst); also reservoir, highest, lowest and loss-grid, see the README. By default
    random; of replay+ contrast."""
    memory_bytes: int | None = None
    """Capacity of the memory of strategies that store compressed images, cameras included; by default 262144. replay+:
    of rays and snapshot together, instead of --memory-rays."""
    past_share: float = 0.5
    """Share of a step's rays that are old ones, from 0.5 to below 1; a step of a strategy that replays has twice as
    many rays as --rays."""
    memory_draw: str = "random"
    """Which stored rays are replayed: random (all of them in passes), weighted (without replacement, the worse
    rendered the likelier), or topk (the worst rendered only)."""
    exploration: float = 0.0
    """Share of a weighted draw that is drawn uniformly from the rest, 0 to 1."""
    update_losses: bool = False
    """Weigh stored rays by how they were rendered last, not by how they were when stored."""
    centre_weight: float = 0.0
    """Share of a ray's weight that comes from its distance to the image's centre, 0 to 1."""
    soft_replay: bool = False
    """Replay the colours that the model rendered when it had learned a task, not the true ones."""
    soft_targets: bool = False
    """Replay: on the new views, what the old model rendered there is a second target, as in strategy soft-targets."""
    learning_rate: float | None = None
    """Peak learning rate. By default 0.02 for the grid field and 0.0005 for the reference network."""
    optimiser: str = "adam"
    """adam, sgd or radam."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 0.0
    """Added to the gradient, times the parameter."""
    schedule: str = "warm-cosine"
    """How the learning rate goes: warm-cosine (within each task, it rises over the first steps and falls along half a
    cosine), constant, or by epochs since the first task began: step, cosine, poly."""
    decay_epochs: tuple[int, ...] = (20,)
    """Schedule step: epochs at which the rate is multiplied by --decay-gamma."""
    decay_gamma: float = 0.1
    """Schedule step: see --decay-epochs."""
    poly_exponent: float = 0.9
    """Schedule poly: the rate is (1 - epoch / epochs) to this power."""
    warmup_epochs: int = 0
    """Schedules step, cosine, poly: epochs over which the rate rises first."""
    warmup_multiplier: float = 1.0
    """The rate after --warmup-epochs, as a multiple; at 1 it rises from 0, else from 1."""
    average: float = 0.0
    """Render with a running mean of the parameters, in which the past has this share at each step; 0 is off."""
    field: str = "hashgrid"
    """What is learned: hashgrid (a multi-resolution grid, seconds on a CPU) or nerf (the reference project's coarse and
    fine 8x256 networks, for a GPU)."""
    finest: int | None = None
    """Grid field: cells of the finest level along each axis; by default 1.25 times the image's width: five cells to
    four pixels."""
    width: int = 32
    """Grid field: width of its two small networks."""
    samples: int = 64
    """Reference network: coarse samples a ray."""
    importance: int = 64
    """Reference network: further samples a ray for the fine network; 0 is no fine network."""
    use_disp: bool = False
    """Reference network: spread coarse samples evenly in disparity instead of distance."""
    perturb: float = 1.0
    """Reference network: how far training moves coarse samples at random, from 0 to 1."""
    noise_std: float = 1.0
    """Reference network: deviation of the noise that training adds to densities."""
    chunk: int = 32_768
    """Reference network: the most points that are evaluated at once when rendering; bounds memory."""
    pixel_center: float = 0.5
    """Where a pixel's centre lies: 0.5 is right, 0.0 reproduces the reference project's rays through corners."""
    evaluate_every: int = 125
    """Steps between evaluations on a few validation views within a task."""
    evaluate_views: int = 4
    """Validation views of each task that these look at."""
    frame_every: int = 25
    """Steps between frames of the GIF."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto (cuda where there is one)."""


@dataclass(frozen=True)
class Common(Training):
    """What every run over tasks is told."""

    tasks: tuple[str, ...] = ("right", "left")
    """Tasks in order: right and left (side of the camera: world x > 0 is right), sectors:N (azimuth), or all."""
    steps: int = 1500
    """Training steps per task."""
    epochs: int | None = None
    """Passes over each task's rays, instead of --steps."""


@dataclass(frozen=True)
class Run(Common):
    """Trains one strategy over one stream, and shows what was forgotten."""

    strategy: Annotated[str, tyro.conf.arg(help=f"How the past is used: {_STRATEGY_NAMES}. {_ROWS}")] = "replay"
    seed: int = 0
    """Seed of everything random."""
    out: Path | None = None
    """Folder for results; a run that was stopped goes on from its last finished task. Default: outputs/STRATEGY."""


@dataclass(frozen=True)
class Comparison:
    """What every comparison is told: all its rows are trained with all its seeds."""

    strategies: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Rows of the table: {_STRATEGY_NAMES}; or all of them: all. {_ROWS}")
    ] = ("finetune", "replay", "joint")
    seeds: tuple[int, ...] = (0,)
    """A single number is how many seeds there are, from 0 on (0 is seed 0 alone); several are the seeds themselves.
    More than one give mean and standard deviation."""
    budget_bytes: tuple[str, ...] = ()
    """Bytes that may be kept of the past, in units of 1024: 64K 256K 1M. A row becomes one for each budget, up to the
    first that has room for everything; it overrules --memory-rays and --memory-bytes. Rows that set these themselves
    stay as they are, and so do strategies without a size; these show what they turned out to keep."""
    jobs: int | None = None
    """Runs at a time on one machine, which divide its cores, unless OMP_NUM_THREADS says how many threads each has;
    with as many threads a run, results are the same. Default: 1; with --ray one for each core."""
    ray: str | None = None
    """Do the runs on a Ray cluster: its address, as ray.init takes it, or "local", which starts one here; needs
    pip install 'nerfcl[cluster]' on all machines. Only whole runs come back: what was stopped begins again."""


@dataclass(frozen=True)
class Compare(Comparison, Common):
    """Trains several strategies side by side, on the same first task, and prints one table."""

    out: Path = Path("outputs/compare")
    """Folder for results; a comparison that was stopped goes on where it was."""


@dataclass(frozen=True)
class Streaming(Training):
    """What every run over a stream of frames is told."""

    order: str = "nearest"
    """Order of the frames: file (as they are), nearest (always on to the nearest camera not yet visited), azimuth, or a
    text file that lists frame numbers."""
    frames: int | None = None
    """Only so many frames, the first of the order."""
    chunk_frames: int = 2
    """Frames that are learned together; they are gone afterwards, but for what the strategy keeps."""
    iters_per_chunk: int = 32
    """Training steps for each chunk."""
    schedule: str = "constant"
    """How the learning rate goes; see `nerfcl run`. A stream has no end to fall towards: constant, and --average."""
    average: float = 0.98
    """Render with a running mean of the parameters, in which the past has this share at each step; 0 is off."""
    evaluate_every: int = 320
    """Steps between evaluations on validation views, also within chunks."""
    evaluate_views: int = 1
    """Validation views of each chunk that these look at."""
    score_every: int | None = None
    """Chunks between evaluations on all test views; by default a fifth of the stream."""
    seen_every: int | None = None
    """Chunks between evaluations on all frames seen so far; by default a twenty-fifth of the stream."""
    frame_every: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Steps between frames of the GIF; by default a sixty-fourth of the stream."""


@dataclass(frozen=True)
class Online(Streaming):
    """Learns a stream of frames, a chunk at a time, in bounded memory; nobody says where a task ends."""

    strategy: Annotated[str, tyro.conf.arg(help=f"How the past is used: {_STRATEGY_NAMES}. {_ROWS}")] = "replay"
    seed: int = 0
    """Seed of everything random."""
    out: Path | None = None
    """Folder for results; what was stopped or killed goes on from its last finished chunk. Default:
    outputs/online-STRATEGY."""
    watch: Path | None = None
    """Instead of --data: a folder that is being written to. Frames are taken from its growing transforms.json as they
    are completed, until the marker file `done` appears in it or the program is stopped."""
    box: tuple[float, float, float, float] | None = None
    """With --watch: middle (x y z) and edge of the cube that is mapped, world units; by default what the first chunk's
    cameras look at."""


@dataclass(frozen=True)
class CompareOnline(Comparison, Streaming):
    """Learns one stream with several strategies, and prints one table; joint, with all frames at once, is the bound."""

    out: Path = Path("outputs/compare-online")
    """Folder for results; a comparison that was stopped or killed goes on from its last finished chunk."""


@dataclass(frozen=True)
class Evaluate:
    """Renders views with a checkpoint, scores them and saves the pictures."""

    checkpoint: tyro.conf.Positional[Path]
    """A .pt file that a run wrote."""
    data: str | None = None
    """Scene: "builtin" or a folder in Blender layout; by default that of the run."""
    img_wh: tuple[int, int] | None = None
    """Width and height to render; by default those of the run."""
    split: str = "test"
    """Which views: train, val or test."""
    view: str = "all"
    """Views of which task: right, left, all, or "sector K/N"."""
    rays_per_pixel: int | None = None
    """Rays averaged over each pixel's area: 1, 4, 9, ...; by default those of the run."""
    out: Path | None = None
    """Folder for the pictures and scores.json. Default: eval/SPLIT-VIEW beside the checkpoint's folder."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto (cuda where there is one)."""


@dataclass(frozen=True)
class MakeScene:
    """Renders the built-in truck along a camera trajectory into a scene folder; needs pip install 'nerfcl[render]'.

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
    """Spiral: equal stretches of the trajectory, of each of which a fifth are test views."""
    img_wh: tuple[int, int] = (64, 64)
    """Width and height of the images."""
    samples: int = 144
    """Rays a pixel: fewer are quicker, and noisier. Mitsuba may take a few more."""
    seed: int = 0
    """Seed of everything random: which frames are test views, random cameras, the rendering's noise."""
    jobs: int = 0
    """Processes that render; 0 is one for each core."""
