"""Files are whole or not there, whoever else writes; what is read is checked before it is believed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nerfcl import files
from nerfcl.errors import NerfclError
from nerfcl.files import read_json, write_json, written_aside

# --- writing ---


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "picture.png"
    with written_aside(target) as aside:
        assert (aside.parent, aside.suffix) == (target.parent, ".png")
        aside.write_bytes(b"half")
        assert not target.exists()
        aside.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"

    def write_and_fail() -> None:
        with written_aside(target) as aside:
            aside.write_bytes(b"half")
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        write_and_fail()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NerfclError, match=r"file/results\.json"):
        write_json(tmp_path / "file" / "results.json", {})


def test_json_is_indented_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"R": [[31.5]], "strategy": "replay"})
    assert path.read_text() == '{\n  "R": [\n    [\n      31.5\n    ]\n  ],\n  "strategy": "replay"\n}\n'
    for bad in (math.nan, math.inf, object()):
        with pytest.raises(NerfclError, match=r"results\.json"):
            write_json(path, {"R": bad})
    assert json.loads(path.read_text())["R"] == [[31.5]]
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path, errors = tmp_path / "results.json", []

    def write(text: str) -> None:
        try:
            for _ in range(100):
                write_json(path, {"text": text * 3000})
        except NerfclError as error:
            errors.append(error)

    def read() -> None:
        while any(thread.is_alive() for thread in writers):
            if path.exists() and len(set(read_json(path)["text"])) != 1:
                errors.append(AssertionError("mixed"))

    writers = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in writers:
        thread.start()
    read()
    for thread in writers:
        thread.join()
    assert not errors
    assert list(tmp_path.iterdir()) == [path]


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("nerfcl.files.secrets.token_hex", lambda _: "01234567")
    planted = tmp_path / f".results.{os.getpid()}-01234567.part.json"
    planted.symlink_to(victim)
    with pytest.raises(NerfclError, match=r"results\.json: cannot be written"):
        write_json(tmp_path / "results.json", {})
    assert victim.read_text() == "precious"
    assert planted.is_symlink()
    assert not (tmp_path / "results.json").exists()


def test_a_link_under_the_name_itself_is_replaced(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "results.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_json(path, {"a": 1})
    assert victim.read_text() == "precious"
    assert read_json(path) == {"a": 1}
    assert not path.is_symlink()


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".results.{ended.pid}-00000000.part.json"
    others = [
        tmp_path / f".results.{os.getppid()}-00000000.part.json",  # of a process that lives
        tmp_path / f".other.{ended.pid}-00000000.part.json",
        tmp_path / f".results.{ended.pid}-00000000.part.png",
        tmp_path / ".results.mine.part.json",
    ]
    for path in (left, *others):
        path.touch()
    write_json(tmp_path / "results.json", {})
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_files_are_flushed_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flush"), flush(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    write_json(tmp_path / "a.json", {})
    assert done == ["flush", "rename", "flush"], "the file, and then the folder's entry"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    write_json(path, {})
    assert read_json(path) == {}


def test_a_full_disk_is_said_and_the_file_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fill() -> None:
        with written_aside(path), Path("/dev/full").open("w") as full:
            full.write("much")

    with pytest.raises(
        NerfclError, match=r"a\.json: cannot be written \(No space left on device\); check the folder and"
    ):
        fill()
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


# --- reading ---


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[" * 10**5, "is nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(NerfclError, match=rf"^[^\n]*a\.json: {why}[^\n]*; restore it from its source$"):
        read_json(path)


def test_integers_of_more_than_64_bits_are_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[{2**53 + 1}, {-(2**62)}, {2**63}, {10**300}, -{'9' * 10**4}]")
    numbers = read_json(path)
    assert numbers == [2**53 + 1, -(2**62), 2.0**63, 1e300, -math.inf]
    assert [type(number) for number in numbers] == [int, int, float, float, float]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(NerfclError, match=r"a\.json: is not a file"):
        read_json(tmp_path / "a.json")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(files.MOST_JSON + 1)
    with pytest.raises(NerfclError, match=r"a\.json: is larger than 268,435,456 bytes"):
        read_json(path)
