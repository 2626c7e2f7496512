"""Output folders: each holds one run, and what it was configured with."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nerfcl.errors import NerfclError
from nerfcl.files import write_json

CONFIG = "config.json"


def claim_folder(
    folder: Path, settings: dict[str, Any], about: dict[str, Any], may_differ: Collection[str] = ()
) -> bool:
    """Makes a folder for a run, or finds that it holds this very run already.

    Args:
        folder: where results are to go.
        settings: what decides the results; two runs with equal settings are the same run.
        about: what else config.json shall tell.
        may_differ: settings that do not make it another run; config.json tells the latest ones.

    Returns:
        Whether the folder held this run already.

    Raises:
        NerfclError: the folder holds something else, or cannot be written.
    """
    settings = json.loads(json.dumps(settings))
    config = folder / CONFIG
    try:
        holds_a_run, occupied = config.is_file(), folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except (OSError, ValueError) as error:
        raise NerfclError(f"--out {folder}: cannot be used ({error}); choose another --out") from None
    if holds_a_run:
        try:
            held = json.loads(config.read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            raise NerfclError(f"{config}: cannot be read; choose another --out, or remove the folder") from None
        differing = {name for name in {**held, **settings} if held.get(name) != settings.get(name)}
        names = differing.difference(may_differ)
        if not names:
            if differing:
                write_json(config, {"settings": settings, **about})
            return True
        raise NerfclError(
            f"--out {folder}: holds another run (it differs in {', '.join(sorted(names))}); "
            "choose another --out, or remove the folder"
        )
    if occupied:
        raise NerfclError(f"--out {folder}: exists and is not a run's folder; choose another --out")
    write_json(config, {"settings": settings, **about})
    return False
