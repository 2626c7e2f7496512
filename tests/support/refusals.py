"""How commands refuse: one line, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def refused(
    main: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    *,
    out: Path | None = None,
) -> str:
    """Return the one line on stderr of a command that is refused; `out` must not exist afterwards."""
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (line,) = (line for line in printed.splitlines() if line.strip())
    assert out is None or not out.exists(), "something was written"
    return line
