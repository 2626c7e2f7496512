"""The reference project's command lines train.py, train_online.py and eval.py, on nerfcl's own loop, strategies and
fields."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from nerfcl.cli.program import check_unicode, run_program
from nerfcl.cli.reference.options import (
    check_eval,
    check_online,
    check_train,
    eval_parser,
    online_parser,
    spell,
    train_parser,
)


def train_main(arguments: Sequence[str] | None = None) -> int:
    """Run train.py.

    Args:
        arguments: the command line without the program's name; None takes the process's own.

    Returns:
        Exit code; see `run_program`.
    """

    def run(options: Namespace) -> None:
        check_train(options)
        from nerfcl.cli.reference.train import run  # a late import: torch takes seconds to load, which --help must not

        run(options)

    how = "the same command resumes from the last checkpoint in ckpts/"
    return run_program("train.py", lambda: run(_parsed(train_parser(), arguments)), spell, how)


def online_main(arguments: Sequence[str] | None = None) -> int:
    """Run train_online.py; see `train_main`."""

    def run(options: Namespace) -> None:
        check_online(options)
        from nerfcl.cli.reference.online import run

        run(options)

    how = "the same command without --resume resumes from the last finished chunk in ckpts/"
    return run_program("train_online.py", lambda: run(_parsed(online_parser(), arguments)), spell, how)


def eval_main(arguments: Sequence[str] | None = None) -> int:
    """Run eval.py; see `train_main`."""

    def run(options: Namespace) -> None:
        check_eval(options)
        from nerfcl.cli.reference.evaluate import run

        run(options)

    how = "the same command starts over"
    return run_program("eval.py", lambda: run(_parsed(eval_parser(), arguments)), spell, how)


def _parsed(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    arguments = sys.argv[1:] if arguments is None else arguments
    check_unicode(arguments)
    return parser.parse_args(arguments)
