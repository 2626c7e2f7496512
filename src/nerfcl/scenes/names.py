"""Names of views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def view_names(split: str, files: Sequence[PurePath], root: PurePath) -> tuple[str, ...]:
    """Name views by their files: stem, or path within `root` if stems do not tell all of them apart, after the split.

    Files that are listed repeatedly are numbered.

    Example:
        >>> root = PurePath("scene")
        >>> view_names("test", [root / "test/r_0.png", root / "test/r_1.png"], root)
        ('test/r_0', 'test/r_1')
        >>> view_names("test", [root / "cam0/0000.png", root / "cam1/0000.png"], root)
        ('test/cam0/0000', 'test/cam1/0000')
    """
    names = [file.stem for file in files]
    paths = [file.relative_to(root) if file.is_relative_to(root) else file for file in files]
    if len(set(names)) < len(names):
        names = [path.with_suffix("").as_posix() for path in paths]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in paths]
    return tuple(f"{split}/{name}" for name in numbered(names))


def numbered(names: Sequence[str]) -> list[str]:
    """Tell equal names apart: the second and later ones get a number, as in "a-2".

    Example:
        >>> numbered(["a", "b", "a"])
        ['a', 'b', 'a-2']
    """
    taken, count = set(names), Counter[str]()
    result = []
    for name in names:
        count[name] += 1
        unique = name
        while count[name] > 1 and unique in taken:
            unique = f"{name}-{count[name]}"
            count[name] += unique in taken
        taken.add(unique)
        result.append(unique)
    return result
