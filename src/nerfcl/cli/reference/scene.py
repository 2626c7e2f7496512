"""What train.py, train_online.py and eval.py have in common: the scene, and the model that a checkpoint holds."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from nerfcl.errors import NerfclError
from nerfcl.models.settings import GridModel, ModelSettings
from nerfcl.reports.progress import track
from nerfcl.scenes import Scene, load_scene
from nerfcl.scenes.scene import with_pixel_center
from nerfcl.training.checkpoints import Checkpoint, load_checkpoint


def scene_of(options: Namespace, pixel_center: float) -> Scene:
    """The scene that the flags name.

    Raises:
        NerfclError: it is absent, damaged, or of another layout than `--dataset_name`.
    """
    is_llff = (Path(options.root_dir) / "poses_bounds.npy").exists()
    if is_llff != (options.dataset_name == "llff") and Path(options.root_dir).is_dir():
        found, layout = ("", "llff") if is_llff else ("no ", "blender")
        raise NerfclError(
            f"--dataset_name {options.dataset_name}: {options.root_dir} holds {found}poses_bounds.npy; "
            f"use --dataset_name {layout}, or name another --root_dir"
        )
    width, height = options.img_wh
    scene = load_scene(options.root_dir, (width, height), track, spheric_poses=options.spheric_poses)
    return with_pixel_center(scene, pixel_center)


def checkpoint_of(options: Namespace) -> Checkpoint:
    """The checkpoint that `--ckpt_path` names.

    Raises:
        NerfclError: it is absent, damaged, or of another field than `--field`.
    """
    path = Path(options.ckpt_path)
    checkpoint = load_checkpoint(path)
    held = "hashgrid" if isinstance(checkpoint.model_settings, GridModel) else "nerf"
    if options.field not in (None, held):
        raise NerfclError(f"--ckpt_path {path}: holds field {held}, not {options.field}; use --field {held}")
    return checkpoint


def resampled(settings: ModelSettings, options: Namespace) -> ModelSettings:
    """A checkpoint's model, but a ray's samples as the flags say where it is the reference network.

    Raises:
        NerfclError: with a fine network there must be samples for it, and without one none.
    """
    if isinstance(settings, GridModel):
        return settings
    if bool(settings.sampling.importance) != bool(options.N_importance):
        held = "a fine network" if settings.sampling.importance else "no fine network"
        raise NerfclError(f"--N_importance {options.N_importance}: the checkpoint has {held}")
    return replace(settings, sampling=replace(settings.sampling, **sampling_of(options)))


def sampling_of(options: Namespace) -> dict[str, int | float | bool]:
    """The flags that are settings of `HierarchicalSettings`."""
    sampling = {
        "samples": options.N_samples,
        "importance": options.N_importance,
        "use_disp": options.use_disp,
        "chunk": options.chunk,
    }
    training = {name: getattr(options, name) for name in ("perturb", "noise_std") if hasattr(options, name)}
    return {**sampling, **training}
