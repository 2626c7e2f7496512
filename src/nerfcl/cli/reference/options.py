"""The flags of the reference project's train.py, train_online.py and eval.py, with its names, defaults and choices.

No heavy imports, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from nerfcl.errors import Argument, NerfclError

ROOT = "/home/ubuntu/data/nerf_example_data/nerf_synthetic/lego"
DEVICES = ("auto", "cpu", "cuda")
FIELDS = ("hashgrid", "nerf")

_LENGTHS = ("num_frames", "chunk_size", "num_iters_per_chunk")
_ONLINE = ("online_cl_mode", *_LENGTHS, "save_plots", "resume")
_EXAMPLES = {"num_frames": 100, "chunk_size": 2, "num_iters_per_chunk": 32}
# Flags that train_online.py rejects, and why.
_NOT_ONLINE = {
    "continual_mode": "is for tasks, which a stream does not have; use train.py, or leave it out",
    "train_view": "is for tasks, which a stream does not have; use train.py, or leave it out",
    "distillation": "needs to know where tasks end, which a stream does not announce; leave it out",
    "use_soft_targets_for_replay": "needs to know where tasks end, which a stream does not announce; leave it out",
    "ckpt_path": "is for train.py; here the same command resumes from the last chunk, --resume FRAME from another",
}
# Flags without effect unless another is given: flag -> (its default, the flag that it needs).
_NEEDS = {
    "buffer_size": (20480, "use_replay_buf"),
    "buffer_fill_mode": (None, "use_replay_buf"),
    "buffer_sample_mode": (None, "use_replay_buf"),
    "use_soft_targets_for_replay": (False, "use_replay_buf"),
    "exploration_ratio": (0.0, "use_replay_buf"),
    "dynamic_buffer_update": (False, "use_replay_buf"),
    "use_imgcentre_weight": (False, "use_replay_buf"),
    "imgcentre_ratio": (0.3, "use_imgcentre_weight"),
    "train_view": (None, "continual_mode"),
}
# Names of options -> names of flags here, where they differ.
_CALLED_HERE = {
    "data": "root_dir",
    "out": "exp_name",
    "tasks": "train_view",
    "rays": "batch_size",
    "epochs": "num_epochs",
    "learning_rate": "lr",
    "optimiser": "optimizer",
    "schedule": "lr_scheduler",
    "poly_exponent": "poly_exp",
    "decay_epochs": "decay_step",
    "memory_rays": "buffer_size",
    "memory_fill": "buffer_fill_mode",
    "memory_draw": "buffer_sample_mode",
    "exploration": "exploration_ratio",
    "centre_weight": "imgcentre_ratio",
    "frames": "num_frames",
    "chunk_frames": "chunk_size",
    "steps": "num_iters_per_chunk",
    "samples": "N_samples",
    "importance": "N_importance",
}

_TRAIN_EPILOG = """\
Learning rates: the reference project's own (--lr 5e-4 --lr_scheduler steplr with decay) suits --field nerf. The default
grid field learns best with 2e-2: use --lr 2e-2 --lr_scheduler cosine, and fewer epochs, about --num_epochs 9.

Checkpoints are written to ckpts/EXP_NAME/epoch=N.ckpt (the best five by --monitor, and always the last), TensorBoard
events to logs/EXP_NAME. The same command resumes from the last checkpoint. The reference project's other flags are for
its online experiment, see train_online.py.
"""
_ONLINE_EPILOG = """\
The first --num_frames train frames of a nearest-neighbour tour of the cameras, which starts at frame 0, come in chunks
of --chunk_size; an epoch is one chunk, learned for --num_iters_per_chunk steps. With --use_replay_buf every ray seen so
far is kept, and from the second chunk on as many past rays as new ones are drawn, with probability proportional to
their latest loss, a fraction of --exploration_ratio uniformly.

Learning rates: the reference project's own (--lr 5e-4 --lr_scheduler steplr --decay_step 2 4 8) suits --field nerf. It
decays too soon for the default grid field: use --lr 2e-2 and no decay, --decay_step 1000.

Checkpoints are written to ckpts/EXP_NAME/epoch=N.ckpt after chunk N (the best five by --monitor of those validated, and
always the last), TensorBoard events to logs/EXP_NAME. The same command resumes from the last chunk; --resume FRAME goes
back to an earlier one, and removes the checkpoints of later ones. Test views are rendered once, at the end.
--save_plots writes bar charts of loss and PSNR of every frame seen so far to plots/EXP_NAME/plotloss_N.png and
plotpsnr_N.png after chunk N, and plotloss.gif and plotpsnr.gif at the end.
"""
_ONLINE_HELP = {
    "batch_size": "new rays per step; with --use_replay_buf as many past ones are added",
    "num_epochs": "chunks to learn; the stream has NUM_FRAMES / CHUNK_SIZE",
    "use_replay_buf": "replay rays of earlier chunks",
    "buffer_size": "maximum number of stored rays; unlimited if not given",
    "buffer_fill_mode": "with --buffer_size, which rays: of highest loss, every k-th, random (if not given)",
    "buffer_sample_mode": "which of them are replayed; weighted_random if not given",
    "dynamic_buffer_update": "always on here: update stored losses after each replay",
    "online_cl_mode": "required: learn a stream of frames",
    "num_frames": "frames in the stream; required",
    "chunk_size": "frames per chunk; required",
    "num_iters_per_chunk": "steps per chunk; required",
    "save_plots": "plot loss and PSNR of every frame seen so far after every chunk; takes time",
    "resume": "resume at the chunk that begins with this frame, a multiple of CHUNK_SIZE; 0 resumes after the last one",
    "val_after_n_epochs": "chunks between validations on 8 views; the last chunk is always validated",
    "exp_name": "name of the folders in ckpts/, logs/ and plots/",
    "monitor": "what selects the best: val/loss",
    **dict.fromkeys(_NOT_ONLINE, argparse.SUPPRESS),
}
_EVAL_EPILOG = """\
--split test writes results/DATASET_NAME/SCENE_NAME/SAVE_DIR_NAME/r_I.png. --split infer_train renders all train views
and writes ROOT_DIR/soft_targets/r_I.png and ROOT_DIR/stage1_losses/loss_I.pt, from which train.py takes soft targets
and losses. Both write SCENE_NAME.gif to the results folder, and print the mean PSNR.
"""


def train_parser() -> ArgumentParser:
    """Create the parser of train.py."""
    what = "Trains a radiance field on one side of a scene, then on the other."
    return _learning_parser(_parser("train.py", what, _TRAIN_EPILOG), {})


def online_parser() -> ArgumentParser:
    """Create the parser of train_online.py: the same flags, but a buffer without a size is unlimited."""
    what = "Trains a radiance field on a stream of frames without task boundaries."
    parser = _learning_parser(_parser("train_online.py", what, _ONLINE_EPILOG), _ONLINE_HELP)
    parser.set_defaults(buffer_size=None)
    return parser


def _learning_parser(parser: ArgumentParser, helps: dict[str, str]) -> ArgumentParser:
    """Add the flags that both training programs share; `helps` overrides help texts."""

    def add(flag: str, *, help: str, **how: Any) -> None:
        parser.add_argument(flag, help=helps.get(flag.removeprefix("--"), help), **how)

    _add_scene(parser, ("blender", "llff", "blender_online"))
    _add_sampling(parser, chunk=32 * 1024)
    add("--perturb", type=float, default=1.0, help="random jitter of coarse samples; only for --field nerf")
    add("--noise_std", type=float, default=1.0, help="standard deviation of noise on densities; only for --field nerf")
    add("--loss_type", default="mse", choices=["mse"], help="mean squared error")
    add("--batch_size", type=int, default=1024, help="new rays per step")
    add("--num_epochs", type=int, default=16, help="epochs (passes over the rays) since the start of the first task")
    add("--num_gpus", type=int, default=1, help="must be 1")
    add("--ckpt_path", help="checkpoint to resume from: the same task, or the other side as the second task")
    add("--prefixes_to_ignore", nargs="+", default=["loss"], help="prefixes of checkpoint keys; cannot be changed")

    add("--optimizer", default="adam", choices=["sgd", "adam", "radam", "ranger"], help="ranger is not supported")
    add("--lr", type=float, default=5e-4, help="peak learning rate; see below")
    add("--momentum", type=float, default=0.9, help="momentum of sgd")
    add("--weight_decay", type=float, default=0, help="factor on the parameters, which are added to their gradients")
    add("--lr_scheduler", default="steplr", choices=["steplr", "cosine", "poly"], help="by epochs since the start")
    add("--warmup_multiplier", type=float, default=1.0, help="rate after the warm-up, as a multiple of --lr")
    add("--warmup_epochs", type=int, default=0, help="warm-up epochs, with sgd and adam")
    add("--decay_step", nargs="+", type=int, default=[20], help="steplr: epochs at which the rate decays")
    add("--decay_gamma", type=float, default=0.1, help="steplr: factor of the decay")
    add("--poly_exp", type=float, default=0.9, help="poly: exponent of (1 - epoch / epochs)")

    add("--continual_mode", action="store_true", help="train on one side only")
    add("--train_view", choices=["right", "left"], help="which side: cameras with world x > 0 are right")
    add("--distillation", action="store_true", help="also train towards the first task's model on these views")
    add("--use_replay_buf", action="store_true", help="replay stored rays of the first task")
    add("--buffer_size", type=int, default=20480, help="number of stored rays")
    add("--buffer_fill_mode", choices=["topk", "uniform", "random"], help="which: of highest loss, every k-th, random")
    add("--buffer_sample_mode", choices=["random", "weighted_random", "topk"], help="which of them are replayed")
    add("--use_soft_targets_for_replay", action="store_true", help="replay colours rendered by the first task's model")
    add("--exploration_ratio", type=float, default=0.0, help="weighted_random: fraction drawn uniformly")
    add("--dynamic_buffer_update", action="store_true", help="update stored losses after each replay")
    add("--use_imgcentre_weight", action="store_true", help="weighted_random: weight by distance to the image centre")
    add("--imgcentre_ratio", type=float, default=0.3, help="fraction of a ray's weight that depends on it")

    _add_online(parser, helps)
    add("--val_after_n_epochs", type=int, required=True, help="epochs between validations on 8 views of each side")
    add("--exp_name", required=True, help="name of the folders in ckpts/ and logs/")
    add("--exp_seed", type=int, required=True, help="seed of all randomness")
    add("--monitor", required=True, choices=["val/loss", "val/loss_l", "val/loss_r"], help="what selects the best")
    add("--field", default="hashgrid", choices=FIELDS, help="field to train: a grid, or the reference's networks")
    add("--pixel_center", type=float, default=0.5, help="where rays pass through pixels; the reference uses 0.0")
    add("--device", default="auto", choices=DEVICES, help="device to compute on")
    return parser


def _add_online(parser: ArgumentParser, helps: dict[str, str]) -> None:
    where = None if helps else "only in train_online.py, rejected here"
    online = parser.add_argument_group("online experiment", where)
    shown = dict.fromkeys(_ONLINE, argparse.SUPPRESS) | helps
    online.add_argument("--online_cl_mode", action="store_true", help=shown["online_cl_mode"])
    for name in _LENGTHS:
        online.add_argument(f"--{name}", type=int, help=shown[name])
    online.add_argument("--save_plots", action="store_true", help=shown["save_plots"])
    online.add_argument("--resume", type=int, default=0, help=shown["resume"])


def eval_parser() -> ArgumentParser:
    """Create the parser of eval.py."""
    parser = _parser("eval.py", "Renders views with a checkpoint's model and scores them.", _EVAL_EPILOG)
    add = parser.add_argument
    _add_scene(parser, ("blender", "llff", "blender_new1", "blender_new2"))
    add("--scene_name", default="test", help="name of the results folder and the GIF")
    add("--split", required=True, choices=["test", "infer_train"], help="which views to render; see below")
    _add_sampling(parser, chunk=32 * 1024 * 4)
    add("--ckpt_path", required=True, help="checkpoint to render with")
    add("--save_dir_name", required=True, help="name of the results folder")
    add("--save_depth", action="store_true", help="also write depth maps")
    add("--depth_format", default="pfm", choices=["pfm", "bytes"], help="of depth maps: PFM, or raw float32 values")
    add("--test_view", required=True, choices=["right", "left", "NA"], help="side of the test views; NA is all")
    add("--field", choices=FIELDS, help="reject a checkpoint of another field; by default any is accepted")
    add("--pixel_center", type=float, help="where rays pass through pixels; by default as in training")
    add("--device", default="auto", choices=DEVICES, help="device to compute on")
    return parser


def _parser(program: str, description: str, epilog: str) -> ArgumentParser:
    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Shows defaults if there are any, and keeps the line breaks of the epilog."""

        def _get_help_string(self, action: argparse.Action) -> str | None:
            return action.help if action.default in (None, False) else super()._get_help_string(action)

    return ArgumentParser(prog=program, description=description, epilog=epilog, formatter_class=Formatter)


def _add_scene(parser: ArgumentParser, names: tuple[str, ...]) -> None:
    parser.add_argument("--root_dir", default=ROOT, help="scene folder, or builtin")
    parser.add_argument("--dataset_name", default="blender", choices=names, help="layout of that folder")
    parser.add_argument("--img_wh", nargs="+", type=int, default=[800, 800], help="width and height of resized images")
    parser.add_argument("--spheric_poses", action="store_true", help="llff: the cameras surround an object")


def _add_sampling(parser: ArgumentParser, chunk: int) -> None:
    add = parser.add_argument
    add("--N_samples", type=int, default=64, help="coarse samples per ray; only for --field nerf")
    add("--N_importance", type=int, default=128, help="additional fine samples per ray; only for --field nerf")
    add("--use_disp", action="store_true", help="sample evenly in disparity; only for --field nerf")
    add("--chunk", type=int, default=chunk, help="maximum points evaluated at once; only for --field nerf")


def check_train(options: Namespace) -> None:
    """Reject flags that contradict each other or have no effect.

    Raises:
        NerfclError: a flag must be changed; names it.
    """
    for name in _ONLINE:
        if getattr(options, name):
            raise NerfclError(f"--{name}: belongs to the online experiment; use train_online.py")
    if options.dataset_name == "blender_online":
        raise NerfclError("--dataset_name blender_online: belongs to the online experiment; use train_online.py")
    _check_learning(options)
    if options.continual_mode and options.train_view is None:
        raise NerfclError("--continual_mode: needs --train_view right or --train_view left")
    if options.continual_mode == (options.monitor == "val/loss"):
        fitting = "val/loss_r or val/loss_l" if options.continual_mode else "val/loss"
        mode = "with" if options.continual_mode else "without"
        raise NerfclError(f"--monitor {options.monitor}: {mode} --continual_mode it must be {fitting}")
    _check_past(options)
    _check_weights(options, options.buffer_sample_mode)


def check_online(options: Namespace) -> None:
    """Reject flags that contradict each other or have no effect.

    Raises:
        NerfclError: a flag must be changed; names it.
    """
    if not options.online_cl_mode:
        raise NerfclError("--online_cl_mode: is missing; give it for the online experiment, or use train.py")
    for name, why in _NOT_ONLINE.items():
        if getattr(options, name):
            raise NerfclError(f"--{name}: {why}")
    for name in _LENGTHS:
        if getattr(options, name) is None:
            raise NerfclError(f"--{name}: is missing; the reference project's experiment uses {_EXAMPLES[name]}")
        _check_least(options, name, 1)
    if options.monitor != "val/loss":
        raise NerfclError(f"--monitor {options.monitor}: a stream has no sides; it must be val/loss")
    _check_learning(options)
    _check_weights(options, options.buffer_sample_mode or "weighted_random")
    frames, size, epochs = options.num_frames, options.chunk_size, options.num_epochs
    chunks = -(-frames // size)
    if epochs > chunks:
        raise NerfclError(
            f"--num_epochs {epochs}: an epoch is a chunk, and --num_frames {frames} with --chunk_size {size} "
            f"make {chunks} chunks; give at most --num_epochs {chunks}"
        )
    if not 0 <= options.resume < epochs * size or options.resume % size:
        raise NerfclError(
            f"--resume {options.resume}: must be the first frame of a chunk to be learned: a multiple of "
            f"--chunk_size {size}, at most {(epochs - 1) * size}"
        )


def _check_learning(options: Namespace) -> None:
    """Reject what both training programs reject."""
    if options.optimizer == "ranger":
        raise NerfclError("--optimizer ranger: is not supported, since torch lacks it; use radam, on which it builds")
    if options.num_gpus != 1:
        raise NerfclError(f"--num_gpus {options.num_gpus}: must be 1; --device cpu computes without a GPU")
    if options.prefixes_to_ignore != ["loss"]:
        raise NerfclError("--prefixes_to_ignore: must be left out; checkpoints are always loaded completely")
    for name, (default, needed) in _NEEDS.items():
        if getattr(options, name) not in (default, None) and not getattr(options, needed):
            raise NerfclError(f"--{name}: only with --{needed}")
    if options.buffer_size is not None:
        _check_least(options, "buffer_size", 1)
    _check_common(options)
    for name in ("batch_size", "num_epochs", "val_after_n_epochs"):
        _check_least(options, name, 1)
    for name in ("perturb", "noise_std"):
        _check_least(options, name, 0)
    _check_name(options, "exp_name", "ckpts/")


def _check_past(options: Namespace) -> None:
    if (options.use_replay_buf or options.distillation) and not options.ckpt_path:
        flag = "use_replay_buf" if options.use_replay_buf else "distillation"
        raise NerfclError(f"--{flag}: needs a past; give the first task's checkpoint with --ckpt_path")
    if (options.use_replay_buf or options.distillation) and not options.continual_mode:
        raise NerfclError("--use_replay_buf, --distillation: only with --continual_mode")
    if options.use_replay_buf and not (options.buffer_fill_mode and options.buffer_sample_mode):
        raise NerfclError(
            "--use_replay_buf: needs --buffer_fill_mode (topk, uniform or random) "
            "and --buffer_sample_mode (random, weighted_random or topk)"
        )


def _check_weights(options: Namespace, sample_mode: str | None) -> None:
    for name, used in (("exploration_ratio", options.exploration_ratio), ("imgcentre_ratio", True)):
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise NerfclError(f"--{name} {getattr(options, name)}: must lie between 0 and 1")
        flag = name if name == "exploration_ratio" else "use_imgcentre_weight"
        if used and getattr(options, flag) and sample_mode != "weighted_random":
            raise NerfclError(f"--{flag}: only with --buffer_sample_mode weighted_random")


def check_eval(options: Namespace) -> None:
    """Reject flags that contradict each other or have no effect.

    Raises:
        NerfclError: a flag must be changed; names it.
    """
    if options.dataset_name in ("blender_new1", "blender_new2"):
        raise NerfclError(
            f"--dataset_name {options.dataset_name}: these images are not part of the published data; "
            "use blender with a folder in that layout"
        )
    if options.split == "infer_train" and options.test_view != "NA":
        raise NerfclError(f"--test_view {options.test_view}: --split infer_train renders all train views; give NA")
    if options.split == "infer_train" and options.root_dir == "builtin":
        raise NerfclError("--root_dir builtin: cannot be written to; copy the scene to a folder and give that")
    if options.depth_format != "pfm" and not options.save_depth:
        raise NerfclError(f"--depth_format {options.depth_format}: only with --save_depth")
    _check_name(options, "scene_name", "results/")
    _check_name(options, "save_dir_name", "results/")
    _check_common(options)


def _check_name(options: Namespace, name: str, inside: str) -> None:
    """Reject a name that is not a folder inside another one."""
    path = Path(getattr(options, name))
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise NerfclError(f"--{name} '{path}': must name a folder inside {inside}")


def _check_common(options: Namespace) -> None:
    if len(options.img_wh) != 2:
        raise NerfclError(f"--img_wh {' '.join(map(str, options.img_wh))}: must be two numbers, width and height")
    _check_least(options, "N_samples", 3)
    _check_least(options, "N_importance", 0)
    _check_least(options, "chunk", 1)


def _check_least(options: Namespace, name: str, least: int) -> None:
    value = getattr(options, name)
    if not value >= least:
        raise NerfclError(f"--{name} {value}: must be at least {least}")


def spell(argument: Argument) -> str:
    """Format an argument as the flag that sets it here."""
    from nerfcl.config.options import option_name

    name = option_name(argument)
    return argument.written(f"--{_CALLED_HERE.get(name, name)}")
