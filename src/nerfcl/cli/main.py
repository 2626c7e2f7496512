"""The command line, with one flat level of commands."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Container, Sequence
from dataclasses import fields, replace
from typing import Annotated, Any

import tyro

from nerfcl.cli import options
from nerfcl.cli.program import check_unicode, run_program
from nerfcl.errors import Argument

# Options of a single run -> those of a comparison.
_OF_MANY = {"strategy": "strategies", "seed": "seeds"}
_Command = (
    Annotated[options.Run, tyro.conf.subcommand("run", prefix_name=False)]
    | Annotated[options.Compare, tyro.conf.subcommand("compare", prefix_name=False)]
    | Annotated[options.Online, tyro.conf.subcommand("online", prefix_name=False)]
    | Annotated[options.CompareOnline, tyro.conf.subcommand("compare-online", prefix_name=False)]
    | Annotated[options.Evaluate, tyro.conf.subcommand("eval", prefix_name=False)]
    | Annotated[options.MakeScene, tyro.conf.subcommand("make-scene", prefix_name=False)]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; None takes the process's own.

    Returns:
        Exit code; see `run_program`.
    """
    arguments = options.with_present_flags(sys.argv[1:] if arguments is None else arguments)
    flags: set[str] = set()

    def work() -> None:
        check_unicode(arguments)
        if arguments == ["--version"]:
            from nerfcl import __version__

            print(f"nerfcl {__version__}")
            return
        command = tyro.cli(
            _Command,  # pyright: ignore[reportArgumentType]
            prog="nerfcl",
            description="Radiance fields that keep learning without forgetting.",
            args=arguments,
        )
        command = _with_switches_off(command, arguments)
        flags.update(field.name for field in fields(command))
        from nerfcl.cli import commands  # a late import: torch takes seconds to load, which --help must not

        commands.run_command(command, shlex.join(["nerfcl", *arguments]))

    how = "run the same command again to resume from what is finished"
    return run_program("nerfcl", work, lambda argument: _spelled(argument, flags), how)


def _with_switches_off(command: Any, arguments: Sequence[str]) -> Any:
    """Record which switches were given as --no-...: False alone may mean that a switch was not given."""
    if not isinstance(command, options.SharedOptions):
        return command
    names = {argument.removeprefix("--no-").replace("-", "_") for argument in arguments if argument.startswith("--no")}
    return replace(command, switched_off=tuple(field.name for field in fields(command) if field.name in names))


def _spelled(argument: Argument, flags: Container[str]) -> str:
    """Format an argument as the flag of the command that sets it."""
    from nerfcl.config.options import option_name

    name = option_name(argument)
    name = name if name in flags else _OF_MANY.get(name, name)
    text = name.replace("_", "-")
    return argument.written(f"--{text}") if name in flags else argument.written(text, "=")
