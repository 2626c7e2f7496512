"""The exception meant for users, and the arguments that its message refers to."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Unset(enum.Enum):
    """Marks a value that was not given, since None is a value."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True)
class Argument:
    """An argument that an error message refers to.

    Its text is ``name=value``. A command line spells it as the flag that sets it, see `NerfclError.spelled`.

    Attributes:
        name: name of the parameter or dataclass field.
        value: the given value; `UNSET` if the message only names the argument.
        owner: the dataclass that defines the field; None for a function parameter.
    """

    name: str
    value: Any = UNSET
    owner: type | None = None

    def __str__(self) -> str:
        if self.value is UNSET:
            return self.name
        return f"{self.name}={self.value!r}" if isinstance(self.value, str) else f"{self.name}={self.value}"

    def written(self, name: str, equals: str = " ") -> str:
        """Format the argument under another name, as on a command line.

        Example:
            >>> Argument("size", (16, 8)).written("--img-wh")
            '--img-wh 16 8'
        """
        if self.value is UNSET or self.value is True or self.value == ():  # a switch has no value
            return name
        words = self.value if isinstance(self.value, tuple) else (self.value,)
        return f"{name}{equals}{' '.join(map(str, words))}"


class NerfclError(Exception):
    """An error that the user can fix; says what is wrong, where, and what to do next.

    The command line prints it on one line and exits with code 2.

    Args:
        parts: pieces of the message, in order; each `Argument` among them can be spelled differently.

    Example:
        >>> error = NerfclError(Argument("steps", 0), ": must be at least 1")
        >>> str(error)
        'steps=0: must be at least 1'
        >>> error.spelled(lambda argument: f"--{argument.name} {argument.value}")
        '--steps 0: must be at least 1'
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return self.spelled(str)

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """Return the message with every argument formatted by `spell`."""
        return "".join(spell(part) if isinstance(part, Argument) else str(part) for part in self.args)


def require(condition: bool, settings: object, name: str, *why: object) -> None:
    """Reject a field of a settings dataclass unless a condition holds.

    Args:
        condition: what must be true.
        settings: the dataclass instance.
        name: name of the field.
        why: pieces of the message after "name=value: "; may include arguments.

    Raises:
        NerfclError: the condition does not hold.
    """
    if not condition:
        raise NerfclError(Argument(name, getattr(settings, name), type(settings)), ": ", *why)


def require_between(settings: object, name: str, least: float, most: float) -> None:
    """Reject a field of a settings dataclass unless least <= value <= most.

    Raises:
        NerfclError: it is smaller, larger or NaN.
    """
    require(least <= getattr(settings, name) <= most, settings, name, f"must lie between {least} and {most}")


def require_count(settings: object, name: str) -> None:
    """Reject a field of a settings dataclass unless it is a whole number of at least 1.

    Raises:
        NerfclError: it is not.
    """
    value = getattr(settings, name)
    require(float(value).is_integer() and value >= 1, settings, name, "must be a whole number of at least 1")
