"""Flat names of options for the fields of an experiment's description, derived from its types.

Command lines and configurations use options such as `memory_rays` and `learning_rate`. Each sets a field of one of the
dataclasses in a description, so the description determines which options apply to it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nerfcl.errors import Argument, NerfclError

T = TypeVar("T")

# Names of options that differ from the field's: (class, field) -> name.
_FLAT_NAMES = {
    ("SceneSettings", "size"): "img_wh",
    ("WatchedStream", "size"): "img_wh",
    ("WatchedStream", "folder"): "watch",
    ("DrawSettings", "draw"): "memory_draw",
    ("RayMemorySettings", "rays"): "memory_rays",
    ("RayMemorySettings", "fill"): "memory_fill",
    ("RaysAndSnapshotSettings", "bytes"): "memory_bytes",
    ("ImageMemorySettings", "bytes"): "memory_bytes",
    ("SnapshotSettings", "bits"): "snapshot_bits",
    ("SnapshotSettings", "every"): "snapshot_every",
}
# The same for parameters of functions.
_FLAT_ARGUMENTS = {"size": "img_wh"}

# Names of options in version 0.1 -> current names, of which the first that applies is meant.
OLD_NAMES = {
    "average": ("ema_decay",),
    "past_share": ("replay_fraction",),
    "score_every": ("test_every",),
    "finest": ("max_resolution",),
    "iters_per_chunk": ("steps",),
    "strength": ("ewc_lambda", "mas_lambda"),
    "keep": ("importance_decay",),
    "renew_every": ("snapshot_every",),
}


@dataclass(frozen=True)
class Leaf:
    """A field of a description that an option sets.

    Attributes:
        path: names of the fields from the top level to it.
        owner: dataclass that defines it.
        value: its value.
    """

    path: tuple[str, ...]
    owner: type
    value: Any

    @property
    def hint(self) -> Any:
        """Type of the field."""
        return get_type_hints(self.owner)[self.path[-1]]


def option_name(argument: Argument) -> str:
    """Return the name of the option that sets an argument."""
    return _flat_name(argument.owner, argument.name) if argument.owner else _FLAT_ARGUMENTS.get(
        argument.name, argument.name
    )  # fmt: skip


def leaves_of(settings: Any) -> dict[str, list[Leaf]]:
    """Map options to the fields of nested settings dataclasses that they set; one option may set several.

    Example:
        >>> from nerfcl.strategies.replay import Replay
        >>> [leaf.path for leaf in leaves_of(Replay())["memory_rays"]]
        [('memory', 'rays')]
    """
    found: dict[str, list[Leaf]] = {}
    for leaf in _walk(settings, ()):
        found.setdefault(_flat_name(leaf.owner, leaf.path[-1]), []).append(leaf)
    return found


def known_as(option: str, leaves: Mapping[str, list[Leaf]]) -> str | None:
    """Return the name of an option among leaves, resolving old names; None if it does not apply."""
    return next((name for name in (option, *OLD_NAMES.get(option, ())) if name in leaves), None)


def applied(settings: T, options: Mapping[str, Any]) -> tuple[T, set[str]]:
    """Set fields of nested settings dataclasses from options.

    Args:
        settings: a description, or a part of one.
        options: values by option name; text is converted to the type of the field.

    Returns:
        The new settings, and the names of the options that do not apply to them.

    Raises:
        NerfclError: a value is invalid.
    """
    leaves = leaves_of(settings)
    updates: dict[tuple[str, ...], Any] = {}
    unknown = set()
    for option, value in options.items():
        name = known_as(option, leaves)
        if name is None:
            unknown.add(option)
        for leaf in leaves.get(name or "", ()):
            updates[leaf.path] = _converted(value, leaf) if isinstance(value, str) else value
    return _updated(settings, updates), unknown


def _flat_name(owner: type, name: str) -> str:
    return next((_FLAT_NAMES[key] for cls in owner.__mro__ if (key := (cls.__name__, name)) in _FLAT_NAMES), name)


def _walk(settings: Any, path: tuple[str, ...]) -> Iterator[Leaf]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, (*path, field.name))
        else:
            yield Leaf((*path, field.name), type(settings), value)


def _updated(settings: T, updates: Mapping[tuple[str, ...], Any]) -> T:
    """Set fields of nested dataclasses, each dataclass at once, since its fields are validated together."""
    if not updates:
        return settings
    changes: dict[str, Any] = {path[0]: value for path, value in updates.items() if len(path) == 1}
    for name in {path[0] for path in updates if len(path) > 1}:
        inner = {path[1:]: value for path, value in updates.items() if path[0] == name}
        changes[name] = _updated(getattr(settings, name), inner)
    return replace(settings, **changes)  # pyright: ignore[reportArgumentType]


def _converted(text: str, leaf: Leaf) -> Any:
    """Convert text to the type of a field."""
    optional = get_args(leaf.hint) if get_origin(leaf.hint) in (Union, types.UnionType) else (leaf.hint,)
    for kind in optional:
        try:
            if kind is bool:
                return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            if kind in (int, float, str):
                return kind(text)
            if kind is type(None) and text.lower() == "none":
                return None
        except (KeyError, ValueError):
            continue
    kinds = " or ".join("none" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in optional)
    raise NerfclError(Argument(leaf.path[-1], text, leaf.owner), f": must be of type {kinds}")
