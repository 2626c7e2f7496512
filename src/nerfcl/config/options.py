"""Options by flat names <-> fields of an experiment's description, derived from its types.

Command lines and comparisons' configurations speak of options: `memory_rays`, `learning_rate`. Each is a field of one
of the dataclasses that a description consists of, so that the description tells which options apply to it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nerfcl.errors import Argument, NerfclError

T = TypeVar("T")

# Names of options where these are not the fields' own: (class, field) -> name.
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
# The same for arguments of functions.
_FLAT_ARGUMENTS = {"size": "img_wh"}

# What options were called in version 0.1 -> what they are called now, the first one that applies.
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
        path: names of the fields that lead to it.
        owner: the dataclass that has it.
        value: what it is now.
    """

    path: tuple[str, ...]
    owner: type
    value: Any

    @property
    def hint(self) -> Any:
        """Its type."""
        return get_type_hints(self.owner)[self.path[-1]]


def option_name(argument: Argument) -> str:
    """Return the name of the option that sets an argument."""
    return _flat_name(argument.owner, argument.name) if argument.owner else _FLAT_ARGUMENTS.get(
        argument.name, argument.name
    )  # fmt: skip


def leaves_of(settings: Any) -> dict[str, list[Leaf]]:
    """List the fields of nested settings dataclasses by the options that set them; one option may set several.

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
    """Return the name that an option has among leaves, also where it is an old one; None where it does not apply."""
    return next((name for name in (option, *OLD_NAMES.get(option, ())) if name in leaves), None)


def applied(settings: T, options: Mapping[str, Any]) -> tuple[T, set[str]]:
    """Set fields of nested settings dataclasses by options.

    Args:
        settings: a description, or a part of one.
        options: values by names. Words are converted to the fields' types.

    Returns:
        The settings, and the names of the options that do not apply to them.

    Raises:
        NerfclError: a value is refused.
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
    """Set fields of nested dataclasses, each dataclass at once, since its fields are checked together."""
    if not updates:
        return settings
    changes: dict[str, Any] = {path[0]: value for path, value in updates.items() if len(path) == 1}
    for name in {path[0] for path in updates if len(path) > 1}:
        inner = {path[1:]: value for path, value in updates.items() if path[0] == name}
        changes[name] = _updated(getattr(settings, name), inner)
    return replace(settings, **changes)  # pyright: ignore[reportArgumentType]


def _converted(text: str, leaf: Leaf) -> Any:
    """Convert a word to a field's type."""
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
