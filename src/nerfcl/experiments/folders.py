"""Output folders: each holds one run or comparison, and its description."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nerfcl.config.comparison import Comparison
from nerfcl.config.configurations import ConfigurationText
from nerfcl.config.experiment import SCHEMA, Experiment, read_description
from nerfcl.config.migration import comparison_of_options, experiment_of, experiment_of_options
from nerfcl.config.options import leaves_of
from nerfcl.errors import Argument, NerfclError
from nerfcl.files import is_aside, write_json
from nerfcl.locks import LOCK, locked
from nerfcl.scenes.digest import Digest, changes
from nerfcl.serialisation import is_registered
from nerfcl.training.checkpoints import Checkpoint

CONFIG = "config.json"
_PACKAGES = ("nerfcl", "torch", "numpy", "numba")


@contextmanager
def claimed(folder: Path, content: dict[str, Any], differing: Callable[[dict[str, Any]], set[str]]) -> Iterator[bool]:
    """Hold a folder for one run: create it with a config.json, or check that it holds the same run already.

    Args:
        folder: output folder, which no other process can claim meanwhile.
        content: content of its config.json; replaces that of the same run.
        differing: takes the content that the folder holds, and names what makes it a different run.

    Yields:
        Whether the folder held this run already.

    Raises:
        NerfclError: the folder holds something else, is in use, cannot be written, or is removed meanwhile.
    """
    _held_in(folder, differing)  # leaves no lock in the folder of something else
    with locked(folder):
        held = _held_in(folder, differing)
        if held != content:
            write_json(folder / CONFIG, content)
        yield held is not None
        check_still_there(folder)


def check_still_there(folder: Path) -> None:
    """Raise a NerfclError if a folder that this process holds was removed."""
    if not (folder / LOCK).is_file():
        raise NerfclError(f"{folder}: was removed while it was written to; run the same command again")


def _held_in(folder: Path, differing: Callable[[dict[str, Any]], set[str]]) -> dict[str, Any] | None:
    """Read the config.json of the same run; None if the folder is new or empty."""
    place, config = Argument("out", str(folder)), folder / CONFIG
    try:
        # Listed before config.json is looked for: what a rival writes in between is then not taken for someone's work.
        occupied = folder.exists() and (not folder.is_dir() or any(_is_content(path) for path in folder.iterdir()))
        is_run = config.is_file()
    except (OSError, ValueError) as error:
        raise NerfclError(place, f": cannot be used ({error}); choose another folder") from None
    if not is_run:
        if occupied:
            raise NerfclError(place, ": exists but is not a run's folder; choose another one")
        return None
    held = read_description(config)
    names = differing(held)
    if names:
        why = f": holds another run (it differs in {', '.join(sorted(names))}); choose another folder, or remove it"
        raise NerfclError(place, why)
    return held


def _is_content(path: Path) -> bool:
    """Tell whether a file is more than the traces of a process that was killed before it wrote its config.json."""
    return path.name != LOCK and not is_aside(path)


@contextmanager
def claimed_folder(
    folder: Path,
    description: Experiment | Comparison,
    data: Digest | None,
    *,
    label: str | None = None,
    command: str | None = None,
) -> Iterator[bool]:
    """Hold a folder for a run or a comparison: create it, or check that it holds this one already.

    A comparison may grow: other configurations, seeds or budgets do not make it a different one, and config.json is
    updated.

    Args:
        folder: output folder, which no other process can claim meanwhile.
        description: description of the run or comparison.
        data: digest of the scene; None if frames come from elsewhere.
        label: label of a run's strategy.
        command: command that reproduces the results; None is one that reads the description.

    Yields:
        Whether the folder held this run or comparison already.

    Raises:
        NerfclError: the folder holds something else, or the same run on other data, is in use, or cannot be written.
    """
    kind, program = ("comparison", "compare") if isinstance(description, Comparison) else ("experiment", "run")
    content = {
        "schema": SCHEMA,
        kind: description.to_plain(),
        **({} if label is None else {"label": label}),
        **({} if data is None else {"data": data}),
        "command": command or f"nerfcl {program} --config {folder / CONFIG}",
        "versions": versions(),
    }

    def differing(held: dict[str, Any]) -> set[str]:
        names = differences(_described(held, folder / CONFIG), description)
        if not names:
            check_data(held.get("data"), data, f"{folder} was begun")
        return names

    with claimed(folder, content, differing) as known:
        yield known


def check_data(before: Any, now: Digest | None, since: str) -> None:
    """Reject data that changed since a run began; data without a digest, of version 0.1, is accepted.

    Args:
        before: digest of the data that the run began with, as read from a file.
        now: digest of the present data.
        since: when they were equal, for the message.

    Raises:
        NerfclError: they differ; says in what.
    """
    found = changes(before, now) if isinstance(before, dict) and now is not None else []
    if found:
        raise NerfclError(
            Argument("data"),
            f": has changed since {since} ({'; '.join(found)}); restore it, or choose another folder for a new run",
        )


def check_origin(checkpoint: Checkpoint, path: Path, experiment: Experiment, data: Digest | None) -> None:
    """Reject a checkpoint in a run's folder that the run did not write.

    Raises:
        NerfclError: it is of another experiment, or of other data.
    """
    is_custom = not is_registered(experiment.strategy)
    try:
        written_by = experiment_of(checkpoint, experiment.strategy if is_custom else None)
    except NerfclError as error:
        raise NerfclError(f"{path}: ", *error.args) from None
    names = differences(written_by, experiment)
    if names:
        raise NerfclError(
            f"{path}: was written by another run (it differs in {', '.join(sorted(names))}); remove it, or restore "
            "the run's own"
        )
    check_data(checkpoint.data, data, f"{path} was written")


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
    content = read_description(folder / CONFIG)
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
    names = {name for name in {**first, **second} if first.get(name, []) != second.get(name, [])}
    # Where one leaves the images' size open, only the digest of the images tells whether it is the same.
    left_open = not (_sizes(first) and _sizes(second))
    return names - {"img_wh", "max_side"} if left_open else names


def _sizes(values: dict[str, list[Any]]) -> list[Any]:
    return [value for name in ("img_wh", "max_side") for value in values.get(name, []) if value is not None]
