"""The one exception that users are meant to see, and the arguments that its message speaks of."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Unset(enum.Enum):
    """Stands for a value that was not given; None is a value."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True)
class Argument:
    """A Python argument that an error message speaks of.

    As text it reads ``name=value``. A command line spells it as the flag that sets it, see `NerfclError.spelled`.

    Attributes:
        name: of the parameter or of the dataclass field.
        value: what was given; `UNSET` where the message names the argument only.
        owner: the dataclass that has the field; None for a function's parameter.
    """

    name: str
    value: Any = UNSET
    owner: type | None = None

    def __str__(self) -> str:
        if self.value is UNSET:
            return self.name
        return f"{self.name}={self.value!r}" if isinstance(self.value, str) else f"{self.name}={self.value}"

    def written(self, name: str, equals: str = " ") -> str:
        """Write it under another name, as a command line does.

        Example:
            >>> Argument("size", (16, 8)).written("--img-wh")
            '--img-wh 16 8'
        """
        if self.value is UNSET or self.value is True or self.value == ():  # a switch has no value
            return name
        words = self.value if isinstance(self.value, tuple) else (self.value,)
        return f"{name}{equals}{' '.join(map(str, words))}"


class NerfclError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do next.

    The command line prints it as one line and exits with code 2.

    Args:
        parts: pieces of the message, in order; those that are an `Argument` can be spelled in another way.

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
        """Return the message, with every argument as `spell` writes it."""
        return "".join(spell(part) if isinstance(part, Argument) else str(part) for part in self.args)


def require(condition: bool, settings: object, name: str, *why: object) -> None:
    """Refuse a field of a settings dataclass unless a condition holds.

    Args:
        condition: what must hold.
        settings: the dataclass instance.
        name: of its field.
        why: pieces of the message after "name=value: "; may hold arguments, too.

    Raises:
        NerfclError: the condition does not hold.
    """
    if not condition:
        raise NerfclError(Argument(name, getattr(settings, name), type(settings)), ": ", *why)
