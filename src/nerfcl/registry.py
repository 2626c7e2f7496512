"""Registries: classes by name, imported on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from nerfcl.errors import Argument, NerfclError


class Registry(Mapping[str, type[Any]]):
    """Classes by name, each imported on first access.

    Args:
        kind: what is registered, spelled like the argument that selects it.
        places: "module:Class" by name.

    Example:
        >>> shapes = Registry("shape", {"path": "pathlib:Path"})
        >>> list(shapes), shapes["path"].__name__
        (['path'], 'Path')
        >>> shapes["cube"]
        Traceback (most recent call last):
        nerfcl.errors.NerfclError: shape='cube': is unknown; choose from path
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind = kind
        self._places = dict(places)

    def __getitem__(self, name: str) -> type[Any]:
        if name not in self._places:
            raise NerfclError(Argument(self.kind, name), f": is unknown; choose from {', '.join(self._places)}")
        module, _, attribute = self._places[name].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def name_of(self, cls: type) -> str | None:
        """Return the name of a class, or None if it is not registered."""
        place = f"{cls.__module__}:{cls.__qualname__}"
        return next((name for name, known in self._places.items() if known == place), None)
