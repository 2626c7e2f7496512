"""Settings <-> plain values (dicts, lists, numbers, strings) that JSON and checkpoints can hold.

Dataclasses become dicts of their fields. If a type is the base of registered classes (it has a `registry`), the dict
names the class under "kind". Loading runs no foreign code: data can only choose among registered classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from nerfcl.errors import NerfclError
from nerfcl.registry import Registry

T = TypeVar("T")

KIND = "kind"


def to_plain(value: Any) -> Any:
    """Convert settings to plain values.

    Example:
        >>> from nerfcl.scenes.scene import Box
        >>> to_plain(Box((0.0, 0.0, 0.0), 2.0))
        {'lower': [0.0, 0.0, 0.0], 'side': 2.0}
    """
    return _converter().unstructure(value)


def from_plain(cls: type[T], value: Any) -> T:
    """Convert plain values to settings; missing fields take their defaults.

    Args:
        cls: a dataclass, or the base of registered ones.
        value: what `to_plain` returned, possibly edited.

    Raises:
        NerfclError: the values are invalid; says where and why.
    """
    try:
        return _converter().structure(value, cls)
    except NerfclError:
        raise
    except Exception as error:  # cattrs raises groups of exceptions of any type
        raise _first_refusal(error) or NerfclError("; ".join(_explain(error))) from None


def is_registered(value: Any) -> bool:
    """Tell whether settings are of a registered class, so that they can be restored from plain values."""
    return type(value).registry.name_of(type(value)) is not None


def _explain(error: Exception) -> list[str]:
    return [line.replace("$.", "").replace(" @ $", "") for line in transform_error(error)]


def _first_refusal(error: BaseException) -> NerfclError | None:
    """Find the error of settings that reject well-formed values."""
    if isinstance(error, NerfclError):
        return error
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for part in parts if (found := _first_refusal(part)) is not None), None)


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    for kind, accepted in ((int, (int,)), (float, (int, float)), (bool, (bool,)), (str, (str,))):
        converter.register_structure_hook(kind, _strict(kind, accepted))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(_strict(str, (str,))(value, str)))
    converter.register_structure_hook_factory(_is_base, lambda cls: _structure_registered(converter, cls))
    converter.register_unstructure_hook_factory(_is_base, lambda cls: _unstructure_registered(converter, cls))
    return converter


def _strict(kind: type[T], accepted: tuple[type, ...]) -> Callable[[Any, Any], T]:
    """Accept only the right type, without conversion: neither "1" for 1, nor 1 for True."""

    def structure(value: Any, _: Any) -> T:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"expected {kind.__name__}, found {value!r}")
        return kind(value)  # pyright: ignore[reportCallIssue]

    return structure


def _is_base(cls: Any) -> bool:
    return is_dataclass(cls) and isinstance(getattr(cls, "registry", None), Registry)


def _structure_registered(converter: Converter, base: Any) -> Callable[[Any, Any], Any]:
    registry: Registry = base.registry
    functions = cache(lambda cls: make_dict_structure_fn(cls, converter))

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get(KIND), str):
            choices = ", ".join(registry)
            raise NerfclError(f"a {registry.kind} must be an object with a '{KIND}', one of {choices}")
        cls = registry[value[KIND]]
        return functions(cls)({name: field for name, field in value.items() if name != KIND}, cls)

    return structure


def _unstructure_registered(converter: Converter, base: Any) -> Callable[[Any], dict[str, Any]]:
    functions = cache(lambda cls: make_dict_unstructure_fn(cls, converter))

    def unstructure(value: Any) -> dict[str, Any]:
        name = base.registry.name_of(type(value))
        # Fields of an unregistered class may hold anything, and it could not be restored from them.
        return {KIND: name} if name is None else {KIND: name, **functions(type(value))(value)}

    return unstructure
