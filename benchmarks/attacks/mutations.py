"""Mutated files: scenes, images, checkpoints and output folders, each with one random fault, read in this process."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import math
import os
import random
import shutil
import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerfcl.cli.main import main
from nerfcl.errors import NerfclError
from nerfcl.experiments.evaluate import EvaluationRequest, evaluate_checkpoint
from nerfcl.scenes import load_scene
from nerfcl.scenes.format import LoadRequest
from nerfcl.scenes.watched import WatchedFolder

from .folders import SMALL, small_scene, write_scene, write_watched

SLOWEST = 30.0  # seconds that anything may take
MOST_MEMORY = 2**30  # bytes that reading may take beyond what was held before

Mutate = Callable[[Path, random.Random], None]
Use = Callable[[Path, Path], None]


@dataclass
class Mutated:
    """What became of mutated files.

    Attributes:
        used: number of files by kind of the whole that they belong to.
        refused: number of those that were refused in one line.
        faults: what should not have happened, with the seed.
        slowest: seconds that the slowest took.
        memory: most bytes that one took beyond what was held before.
    """

    used: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0


def measure_mutations(folder: Path, count: int, seed: int, processes: int = 1) -> Mutated:
    """Mutate one file after the other, and use what it belongs to.

    Args:
        folder: folder to work in; what it held is removed.
        count: number of mutations.
        seed: seed of the first; each has its own.
        processes: number of processes that share the work.
    """
    shutil.rmtree(folder, ignore_errors=True)
    share = -(-count // processes)
    parts = [(folder / str(i), min(share, count - i * share), seed + i * share) for i in range(processes)]
    if processes == 1:
        return _measure(*parts[0])
    total = Mutated()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(_measure, *zip(*parts, strict=True)):
            total.used += part.used
            total.refused += part.refused
            total.faults += part.faults
            total.slowest, total.memory = max(total.slowest, part.slowest), max(total.memory, part.memory)
    return total


def _measure(folder: Path, count: int, seed: int) -> Mutated:
    wholes = _write_wholes(folder / "whole")
    result = Mutated()
    for number in range(seed, seed + count):
        name = _ORDER[number % len(_ORDER)]
        _mutate_and_use(name, wholes / name, folder, number, result)
    return result


def _write_wholes(root: Path) -> Path:
    """Write one intact folder of each kind."""
    scene = write_scene(root / "scene")
    write_scene(root / "images", 3)
    write_watched(root / "watched", 3)
    _write_llff(root / "llff")
    data = ["--data", str(scene), *SMALL, "--rays", "64", "--steps", "4", "--frame-every", "0"]
    with _quiet():
        for command in (
            ["run", *data, "--strategy", "replay:memory-rays=50", "--ema-decay", "0.9", "--out", str(root / "run")],
            ["compare", *data, "--strategies", "finetune", "replay:memory-rays=50", "--out", str(root / "compare")],
            ["online", *data[:-2], "--memory-rays", "50", "--chunk-frames", "2", "--out", str(root / "online")],
        ):
            if main(command):
                raise AssertionError(f"the intact command fails: {command}")
    shutil.copytree(root / "run", root / "checkpoint")
    return root


def _write_llff(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    rows = []
    train = small_scene().train
    for i in range(9):
        Image.fromarray(train.images[i].numpy()).resize((24, 18)).save(root / f"images/i{i}.png")
        pose = np.zeros((3, 5))
        pose[:, 0], pose[:, 1], pose[:, 2] = [0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
        pose[:, 3], pose[:, 4] = [0.1 * (i % 3), 0.1 * (i // 3), 0.0], [18.0, 24.0, 30.0]
        rows.append([*pose.ravel(), 3.0, 9.0])
    np.save(root / "poses_bounds.npy", np.array(rows))


# --- use ---


def _use_scene(folder: Path, out: Path) -> None:
    load_scene(folder, (16, 16))


def _use_scene_as_it_is(folder: Path, out: Path) -> None:
    load_scene(folder)


def _use_watched(folder: Path, out: Path) -> None:
    source = WatchedFolder(folder, LoadRequest((16, 16)))
    for number in range(3):
        source.read(number)


def _use_checkpoint(folder: Path, out: Path) -> None:
    request = EvaluationRequest(folder / "checkpoints/task-2.pt", out=out / "eval", view="right", device="cpu")
    evaluate_checkpoint(request)


def _use_output(folder: Path, out: Path) -> None:
    """Run the same command again, on the mutated output folder."""
    command = json.loads((out.parent / "whole" / out.name / "config.json").read_text())["command"].split()[1:]
    command[command.index("--out") + 1] = str(folder)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main(command)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("nerfcl: ")]
    if code == 2 and len(lines) >= 1:
        raise NerfclError(lines[-1])
    if code:
        raise AssertionError(f"exit code {code}: {errors.getvalue()}")


_USES: dict[str, Use] = {
    "scene": _use_scene,
    "images": _use_scene_as_it_is,
    "watched": _use_watched,
    "llff": _use_scene,
    "checkpoint": _use_checkpoint,
    "run": _use_output,
    "compare": _use_output,
    "online": _use_output,
}
# Those that draw pictures take hundred times as long as the others.
_ORDER = [*["scene", "images", "watched", "llff", "checkpoint", "checkpoint"] * 4, "run", "compare", "online"]
_READS = {  # which files are mutated
    "scene": ("*.json", "*/*.png"),
    "images": ("*/*.png",),
    "watched": ("*.json", "*/*.png"),
    "llff": ("*.npy", "*/*.png"),
    "checkpoint": ("checkpoints/*.pt",),
    "run": ("*.json", "checkpoints/*.pt"),
    "compare": ("*.json", "*/*/*.json", "*/*/checkpoints/*.pt"),
    "online": ("*.json", "checkpoints/*.pt"),
}


def _mutate_and_use(name: str, whole: Path, folder: Path, number: int, result: Mutated) -> None:
    chance = random.Random(number)
    mutated, out = folder / "mutated", folder / name
    for place in (mutated, out):
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, mutated)
    out.mkdir()
    pattern = chance.choice(_READS[name])
    file = chance.choice(sorted(mutated.glob(pattern)))
    how = chance.choice([*_ANY, *_OF_SUFFIX[file.suffix] * 3])
    how(file, chance)
    what = f"{number} ({name}, {file.relative_to(mutated)}, {how.__name__.strip('_')})"
    writable = {name, "mutated"} if _USES[name] is _use_output else {name}
    before, held, began = _state_of(folder, writable), _peak(), time.monotonic()
    faulthandler.dump_traceback_later(SLOWEST, exit=True)
    try:
        with _quiet():
            _USES[name](mutated, out)
    except NerfclError as error:
        result.refused[name] += 1
        if "\n" in str(error) or not str(error).strip():
            result.faults.append(f"{what}: more than one line: {error}")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        result.faults.append(f"{what}: {error!r:.300}")
    finally:
        faulthandler.cancel_dump_traceback_later()
    result.used[name] += 1
    result.slowest = max(result.slowest, time.monotonic() - began)
    taken = _peak() - held
    result.memory = max(result.memory, taken)
    if taken > MOST_MEMORY:
        result.faults.append(f"{what}: took {taken / 2**20:.0f} MB")
    if _state_of(folder, writable) != before:
        result.faults.append(f"{what}: something was written outside of the output folder")


def _state_of(folder: Path, without: set[str]) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files but those in the folders where something may be written."""
    found = {}
    for top in folder.iterdir():
        if top.name in without:
            continue
        for place, _, files in os.walk(top):
            for file in files:
                status = os.lstat(os.path.join(place, file))
                found[os.path.join(place, file)] = (status.st_size, status.st_mtime_ns)
    return found


def _peak() -> int:
    """Most memory that this process has held, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@contextlib.contextmanager
def _quiet() -> Any:
    """Swallow output."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


# --- faults of any file ---


def _flip_bits(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 1, 1, 8, 64])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def _truncate(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.choice([0, 1, 8, chance.randrange(len(content)), len(content) - 1])])


def _insert(file: Path, chance: random.Random) -> None:
    content, at = file.read_bytes(), chance.randrange(file.stat().st_size)
    file.write_bytes(content[:at] + chance.randbytes(chance.choice([1, 9, 999])) + content[at:])


def _repeat(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes() * 2)


def _overwrite(file: Path, chance: random.Random) -> None:
    content, length = bytearray(file.read_bytes()), chance.choice([4, 64, 1024])
    at = chance.randrange(len(content))
    content[at : at + length] = bytes(chance.choice([0, 255, 32]) for _ in range(min(length, len(content) - at)))
    file.write_bytes(content)


def _remove(file: Path, chance: random.Random) -> None:
    file.unlink()


def _make_folder(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.mkdir()


def _make_pipe(file: Path, chance: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def _make_circle(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _take_another(file: Path, chance: random.Random) -> None:
    """Replace the file by another one of the same folder, or of the one above."""
    others = [path for path in file.parent.parent.rglob("*") if path.is_file() and path != file]
    content = chance.choice(sorted(others)).read_bytes() if others else b""
    file.write_bytes(content)


# --- faults of JSON ---

_VALUES: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, -(10**18), 0.0, 1e300, -1e300, 1e-300, math.nan, math.inf, "", "x",
    "../../x", "/etc/passwd", "\ud800", "a\0b", "x" * 10**5, [], {}, [[]], [None], {"kind": "x"}, "nan", "\n",
]  # fmt: skip


def _change_value(file: Path, chance: random.Random) -> None:
    content = json.loads(file.read_text())
    holder, key = chance.choice(_places(content))
    how = chance.randrange(4)
    if how == 0 and isinstance(holder, dict):
        del holder[key]
    elif how == 1 and isinstance(holder, list):
        chance.choice([lambda: holder.pop(key), lambda: holder.insert(key, holder[key]), holder.clear])()
    else:
        holder[key] = chance.choice(_VALUES)
    file.write_text(json.dumps(content))


def _places(content: Any) -> list[tuple[Any, Any]]:
    """List (container, key) of all values."""
    found, left = [], [content]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                left.append(holder[key])
    return found


def _nest(file: Path, chance: random.Random) -> None:
    depth = chance.choice([10**3, 10**5])
    file.write_text(chance.choice(["[" * depth, "[" * depth + "]" * depth, '{"frames":' * depth]))


def _another_json(file: Path, chance: random.Random) -> None:
    file.write_text(chance.choice(["[]", "{}", "3", "null", '"x"', "[1, 2]", '{"schema": 1}', '{"schema": 99}', "NaN"]))


# --- faults of images ---


def _chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 8 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _write_chunks(file: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    file.write_bytes(b"".join(parts))


def _change_header(file: Path, chance: random.Random) -> None:
    """Change dimensions, depth or colour type, with a checksum that fits."""
    chunks = _chunks_of(file.read_bytes())
    header = bytearray(chunks[0][1])
    if chance.random() < 0.6:
        sides = [0, 1, 15, 17, 13_000, 2**31 - 1, 2**32 - 1]
        header[:8] = struct.pack(">II", chance.choice(sides), chance.choice(sides))
    else:
        header[chance.randrange(8, 13)] = chance.choice([0, 1, 2, 3, 4, 6, 16, 255])
    _write_chunks(file, [(b"IHDR", bytes(header)), *chunks[1:]])


def _add_text(file: Path, chance: random.Random) -> None:
    """Add a compressed text of many megabytes."""
    chunks = _chunks_of(file.read_bytes())
    text = zlib.compress(b"a" * chance.choice([10**3, 5 * 10**7]), 9)
    kind = chance.choice([(b"zTXt", b"k\0\0" + text), (b"iTXt", b"k\0\1\0\0\0" + text), (b"iCCP", b"k\0\0" + text)])
    _write_chunks(file, [chunks[0], kind, *chunks[1:]])


def _bomb(file: Path, chance: random.Random) -> None:
    """Write a small file of many pixels."""
    side = chance.choice([2000, 9000, 13_000])
    row = zlib.compressobj(9)
    data = b"".join(row.compress(bytes(3 * side + 1)) for _ in range(side)) + row.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    _write_chunks(file, [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def _another_image(file: Path, chance: random.Random) -> None:
    """Write an image of another mode, format or size under the same name."""
    mode = chance.choice(["L", "LA", "1", "P", "RGB", "I;16", "I", "F", "CMYK"])
    kind = {"I": "TIFF", "F": "TIFF", "CMYK": "JPEG"}.get(mode, chance.choice(["PNG", "PNG", "GIF", "BMP"]))
    with contextlib.suppress(OSError):
        Image.new(mode, chance.choice([(16, 16), (1, 1), (16, 400)])).save(file, kind)


# --- faults of arrays and checkpoints ---


def _change_number(file: Path, chance: random.Random) -> None:
    array = np.load(file)
    flat = array.reshape(-1)
    values = [0.0, -1.0, 1e-300, 1e300, 1e9, math.nan, math.inf, 2**31]
    for _ in range(chance.choice([1, 1, 20])):
        flat[chance.randrange(len(flat))] = chance.choice(values)
    with np.errstate(all="ignore"):
        shapes = [array, array, array[:5], array[:, :9], array[None], array.astype(np.float16), array.astype("U9")]
    np.save(file, chance.choice(shapes))


def _change_content(file: Path, chance: random.Random) -> None:
    """Change one value or tensor within a checkpoint, with checksums that fit."""
    content = torch.load(file, weights_only=True)
    holder, key = chance.choice(_places(content))
    value = holder[key]
    if isinstance(value, torch.Tensor) and chance.random() < 0.8:
        holder[key] = _changed(value, chance)
    elif chance.random() < 0.3 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = chance.choice(_VALUES)
    torch.save(content, file)


def _changed(value: torch.Tensor, chance: random.Random) -> torch.Tensor:
    if value.dim() and value.numel() and chance.random() < 0.5:
        return chance.choice([value[:1], value[:0], value[None], value.flatten(), value.expand(2**20, *value.shape)])
    if value.is_floating_point():
        return chance.choice([value * math.nan, value * 1e30, value.half(), value.double(), value.long(), value * 0.0])
    negated = value.logical_not() if value.dtype == torch.bool else -value
    return chance.choice([value.double(), value.bool(), value * 0, value + 99, negated])


_ANY: list[Mutate] = [
    _flip_bits, _truncate, _insert, _repeat, _overwrite, _remove, _make_folder, _make_pipe, _make_circle, _take_another
]  # fmt: skip
_OF_SUFFIX: dict[str, list[Mutate]] = {
    ".json": [_change_value, _change_value, _nest, _another_json],
    ".png": [_change_header, _add_text, _bomb, _another_image],
    ".npy": [_change_number],
    ".pt": [_change_content],
}
