"""Output folders: each holds one run or comparison, and its description."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ConfigurationText
from nerfcl.config.experiment import SCHEMA, Experiment, read_description
from nerfcl.config.migration import comparison_of_options, experiment_of_options
from nerfcl.config.options import leaves_of
from nerfcl.errors import Argument, NerfclError
from nerfcl.files import write_json

CONFIG = "config.json"
_PACKAGES = ("nerfcl", "torch", "numpy", "numba")


def claim(folder: Path, content: dict[str, Any], differing: Callable[[dict[str, Any]], set[str]]) -> bool:
    """Create a folder with a config.json, or check that it holds the same run already.

    Args:
        folder: output folder.
        content: content of its config.json; replaces that of the same run.
        differing: takes the content that the folder holds, and names what makes it a different run.

    Returns:
        Whether the folder held this run already.

    Raises:
        NerfclError: the folder holds something else, or cannot be written.
    """
    place = Argument("out", str(folder))
    config = folder / CONFIG
    try:
        claimed, occupied = config.is_file(), folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except (OSError, ValueError) as error:
        raise NerfclError(place, f": cannot be used ({error}); choose another folder") from None
    if not claimed:
        if occupied:
            raise NerfclError(place, ": exists but is not a run's folder; choose another one")
        write_json(config, content)
        return False
    held = read_description(config)
    names = differing(held)
    if names:
        why = f": holds another run (it differs in {', '.join(sorted(names))}); choose another folder, or remove it"
        raise NerfclError(place, why)
    if held != content:
        write_json(config, content)
    return True


def claim_folder(
    folder: Path, description: Experiment | Comparison, *, label: str | None = None, command: str | None = None
) -> bool:
    """Create a folder for a run or a comparison, or check that it holds this one already.

    A comparison may grow: other configurations, seeds or budgets do not make it a different one, and config.json is
    updated.

    Args:
        folder: output folder.
        description: description of the run or comparison.
        label: label of a run's strategy.
        command: command that reproduces the results; None is one that reads the description.

    Returns:
        Whether the folder held this run or comparison already.

    Raises:
        NerfclError: the folder holds something else, or cannot be written.
    """
    kind, program = ("comparison", "compare") if isinstance(description, Comparison) else ("experiment", "run")
    content = {
        "schema": SCHEMA,
        kind: description.to_plain(),
        **({} if label is None else {"label": label}),
        "command": command or f"nerfcl {program} --config {folder / CONFIG}",
        "versions": versions(),
    }
    return claim(folder, content, lambda held: differences(_described(held, folder / CONFIG), description))


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect results."""
    return {package: version(package) for package in _PACKAGES}


def description_in(folder: Path) -> Experiment | Comparison:
    """Read the description of the run or comparison in a folder, including those of version 0.1.

    Raises:
        NerfclError: it is missing or damaged.
    """
    return described_by(folder / CONFIG)


def label_in(path: Path) -> str | None:
    """Read the label of a run's strategy from a config.json, including those of version 0.1."""
    content = read_description(path)
    if "settings" in content:
        return ConfigurationText.parse(content["settings"]["strategy"]).label
    label = content.get("label")
    return label if isinstance(label, str) else None


def described_by(path: Path) -> Experiment | Comparison:
    """Read the description in a config.json, including those of version 0.1.

    Raises:
        NerfclError: the file is missing or is not a description.
    """
    return _described(read_description(path), path)


def _described(content: dict[str, Any], path: Path) -> Experiment | Comparison:
    try:
        if "settings" in content:
            options = content["settings"]
            if "data" not in options:  # written by make-scene
                raise NerfclError("does not describe an experiment; give the config.json of an output folder")
            # The round trip rejects values of wrong types.
            if "strategies" in options:
                return Comparison.from_plain(comparison_of_options(options).to_plain())
            return Experiment.from_plain(experiment_of_options(options).to_plain())
        if "comparison" in content:
            return Comparison.from_plain(content["comparison"])
        return Experiment.from_plain(content["experiment"])
    except NerfclError as error:
        raise NerfclError(f"{path}: ", *error.args) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NerfclError(f"{path}: is not a complete description ({error!r}); restore it, or use another") from None


def config_in(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json for reports: command, versions, and options by name."""
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return {
        "command": content["command"],
        "versions": content["versions"],
        "options": options_of(description_in(folder)),
    }


def options_of(description: Experiment | Comparison) -> dict[str, Any]:
    """List a description's options by name, without those of strategies for a comparison."""
    several = isinstance(description, Comparison)
    experiment = description.experiment if several else description
    shown = {
        name: leaves[0].value
        for name, leaves in leaves_of(experiment).items()
        if not several or (leaves[0].path[0] not in ("strategy", "seed"))
    }
    if several:
        shown["strategies"] = tuple(configuration.label for configuration in description.configurations)
        shown["seeds"], shown["budget_bytes"] = description.seeds, description.budgets
    return shown


def differences(held: Experiment | Comparison, wanted: Experiment | Comparison) -> set[str]:
    """Name the options that make two descriptions different runs; none for a comparison that has grown."""
    if isinstance(held, Comparison) or isinstance(wanted, Comparison):
        if not (isinstance(held, Comparison) and isinstance(wanted, Comparison)):
            return {"command"}
        return _differing(held.experiment, wanted.experiment, without=("strategy", "seed"))
    if type(held.strategy) is not type(wanted.strategy):
        return {"strategy"} | _differing(held, wanted, without=("strategy",))
    return _differing(held, wanted)


def _differing(one: Experiment, other: Experiment, without: Collection[str] = ()) -> set[str]:
    def values(experiment: Experiment) -> dict[str, list[Any]]:
        return {
            name: [leaf.value for leaf in leaves if leaf.path[0] not in without]
            for name, leaves in leaves_of(experiment).items()
        }

    first, second = values(one), values(other)
    return {name for name in {**first, **second} if first.get(name, []) != second.get(name, [])}
