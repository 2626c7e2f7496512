"""The web page of a comparison: its figures by hand, its text parsed, and how a browser lays it out."""

from __future__ import annotations

import base64
import html
import io
import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from nerfcl.errors import NerfclError
from nerfcl.metrics.forgetting import average, backward_transfer, forgetting
from nerfcl.reports import against_bytes, findings, measures
from nerfcl.reports.compared import Compared, ComparedRow
from nerfcl.reports.html.page import html_page, html_report
from nerfcl.reports.html.pictures import pictures_of, png_uri
from nerfcl.reports.html.table import table_columns
from nerfcl.reports.comparison.summary import Dip
from nerfcl.reports.html.svg import Plot, round_ticks
from nerfcl.training.learner import History

TWO = ["right", "left"]
TEN = [f"sector {i + 1}/10" for i in range(10)]
NASTY = '<b>&"\'</b><script src="http://x/y.js">'
SIZE = 16
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def result(
    R: Sequence[Sequence[float | None]],
    *,
    seed: int = 0,
    tasks: list[str] = TWO,
    kept: float = 0.0,
    seconds: float = 10.0,
) -> dict[str, Any]:
    """One seed's `results.json`; a task has two test views, one dB above and below the mean, or none."""
    known = [[math.nan if value is None else value for value in row] for row in R]
    return {
        "seed": seed,
        "tasks": tasks,
        "R": R,
        "scored": list(range(1, len(R) + 1)),
        "average": average(known),
        "backward_transfer": backward_transfer(known),
        "forgetting": forgetting(known),
        "memory_bytes": kept,
        "seconds": {"training": seconds},
        "views": [
            {"task": task, "name": f"r_{v}", "psnr": [row[j] + 1.0 - 2.0 * v for row in known]}
            for j, task in enumerate(tasks)
            for v in range(2 if R[-1][j] is not None else 0)
        ],
    }


def row(
    label: str,
    results: Sequence[Mapping[str, Any]],
    bound: Literal["lower", "upper"] | None = None,
    curve: list[tuple[float, list[float]]] | None = None,
) -> ComparedRow:
    R = results[0]["R"]
    history = History(
        R=R,
        scored=results[0]["scored"],
        psnr=[[[] if value is None else [value + 1.0, value - 1.0] for value in line] for line in R],
        curve=curve or [(0.5, [20.0] * len(R)), (1.0, R[0]), (1.5, R[0]), (float(len(R)), R[-1])],
        pictures=[{0: picture(i), 1: picture(100 + i)} for i in range(len(R))],
    )
    return ComparedRow(label, results, history, bound, from_scratch=bound == "upper")


def compared(rows: list[ComparedRow], tasks: list[str] = TWO) -> Compared:
    return Compared(
        title="truck at 16x16",
        tasks=tasks,
        rows=rows,
        length=100,
        unit="steps",
        watched=0,
        truths={0: picture(7), 1: picture(8)},
        config={
            "settings": {"data": "/home/<me>/scene", "tasks": tasks, "steps": 100},
            "command": "nerfcl compare --data '/home/<me>/scene'",
            "versions": {"nerfcl": "0.1.0"},
        },
        machine="a machine, 2 threads",
    )


def two_rows() -> list[ComparedRow]:
    """A contender and the upper bound, with two seeds."""
    replay = [
        result([[30.0, 10.0], [26.0, 31.0]], seed=0, kept=1024.0, seconds=20.0),
        result([[32.0, 12.0], [30.0, 33.0]], seed=1, kept=1024.0, seconds=24.0),
    ]
    joint = [
        result([[30.0, 10.0], [30.0, 30.0]], seed=0, kept=2.0**20, seconds=40.0),
        result([[32.0, 12.0], [33.0, 33.0]], seed=1, kept=2.0**20, seconds=40.0),
    ]
    return [row("replay", replay), row("joint", joint, "upper")]


def many_rows(count: int, tasks: list[str], seeds: int) -> list[ComparedRow]:
    """Strategies at several budgets, as random as they come."""
    n = len(tasks)

    def one(k: int, bound: Literal["lower", "upper"] | None, label: str, kept: float) -> ComparedRow:
        strength = {"lower": 0.0, "upper": 1.0}.get(bound or "", 0.1 + 0.8 * k / count - 0.3 * (k % 3 == 1))
        results = []
        for seed in range(seeds):
            noise = np.random.default_rng([k, seed])
            R = [
                [
                    (30.0 - (1.0 - strength) * 1.4 * (i - j) if j <= i else 12.0) + float(noise.normal(0.0, 0.4))
                    for j in range(n)
                ]
                for i in range(n)
            ]
            results.append(result(R, seed=seed, tasks=tasks, kept=kept, seconds=20.0 + k))
        steps = [x / 10 for x in range(1, 10 * n + 1)]
        R = results[0]["R"]

        def at(x: float, j: int) -> float:
            i = min(math.ceil(x) - 1, n - 1)
            if i < j:
                return 12.0
            if i == j:
                return R[j][j] - 8.0 * math.exp(-6.0 * (x - j))
            return R[i][j] - (1.0 - strength) * 4.0 * math.exp(-8.0 * (x - i))

        return row(label, results, bound, [(x, [at(x, j) for j in range(n)]) for x in steps])

    kinds = ["replay", "worst first", "replay-images", "replay:memory-fill=topk,memory-draw=weighted"]
    inner = [
        one(k, None, f"{kinds[k % len(kinds)]} {2 ** (k // len(kinds))}x", 4096.0 * 2 ** (k / 2))
        for k in range(1, count - 1)
    ]
    return [one(0, "lower", "finetune", 0.0), *inner, one(count, "upper", "joint", 4.0 * 2**20)]


# The table


def cells(found: Compared) -> dict[str, list[str]]:
    """By the columns' heads: mean and deviation of each row, the best in stars."""
    return {
        column.head: [
            (f"*{cell.text}*" if cell.best else cell.text) + (f" {cell.deviation}" if cell.deviation else "")
            for cell in column.cells
        ]
        for column in table_columns(found)
    }


def test_the_table_of_two_rows_and_two_seeds_by_hand() -> None:
    assert cells(compared(two_rows())) == {
        "right": ["*28.00* ± 2.83", "31.50 ± 2.12"],  # 26 and 30; 30 and 33
        "left": ["*32.00* ± 1.41", "31.50 ± 2.12"],
        "mean": ["*30.00* ± 2.12", "31.50 ± 2.12"],  # 28.5 and 31.5; 30 and 33
        "backward transfer": ["*−3.00* ± 1.41", "+0.50 ± 0.71"],
        "forgetting": ["*+3.00* ± 1.41", "−0.50 ± 0.71"],
        "minus joint": ["*−1.50* ± 0.00", "–"],  # 28.5 - 30 and 31.5 - 33: seed by seed
        "kept": ["*1.0 KB*", "1.0 MB"],
        "seconds": ["*22* ± 2.8", "40 ± 0.0"],
    }


def test_the_best_is_bold_whoever_it_is_but_never_the_upper_bound() -> None:
    rows = [
        row("finetune", [result([[30.0, 10.0], [20.0, 31.0]])], "lower"),
        row("replay", [result([[30.0, 10.0], [25.0, 30.0]], kept=4096.0, seconds=12.0)]),
        row("soft", [result([[30.0, 10.0], [25.001, 29.0]], kept=2048.0, seconds=30.0)]),
        row("joint", [result([[30.0, 10.0], [32.0, 32.0]], kept=8192.0, seconds=9.0)], "upper"),
    ]
    assert cells(compared(rows)) == {
        "right": ["20.00", "*25.00*", "*25.00*", "32.00"],  # what reads the same is as good
        "left": ["*31.00*", "30.00", "29.00", "32.00"],
        "mean": ["25.50", "*27.50*", "27.00", "32.00"],
        "backward transfer": ["−10.00", "*−5.00*", "*−5.00*", "+2.00"],
        "forgetting": ["+10.00", "*+5.00*", "*+5.00*", "−2.00"],
        "minus joint": ["−6.50", "*−4.50*", "−5.00", "–"],
        "kept": ["*0*", "4.0 KB", "2.0 KB", "8.0 KB"],
        "seconds": ["*10*", "12", "30", "9.0"],
    }


def test_columns_that_would_say_nothing_are_left_out() -> None:
    alone = [row("replay", [result([[30.0]], tasks=["all"])])]
    assert list(cells(compared(alone, ["all"]))) == ["all", "kept", "seconds"]
    many = cells(compared(many_rows(3, TEN, 1), TEN))
    assert list(many)[:4] == ["sector 1/10", "sector 10/10", "mean of all", "backward transfer"]
    unseen = [row("replay", [result([[30.0, None], [26.0, None]])])]
    assert cells(compared(unseen))["left"] == ["–"]


# What it measures


def test_the_front_by_hand() -> None:
    points = [(100.0, 25.0), (0.0, 20.0), (50.0, 24.0), (60.0, 24.0), (100.0, 24.5), (200.0, 25.0), (0.0, 19.0)]
    # 60 bytes for what 50 give, 200 for what 100 give, less at as many bytes: beaten.
    assert measures.pareto_front(points) == [1, 2, 0]
    assert measures.pareto_front([(5.0, 20.0), (5.0, 20.0)]) == [0, 1], "equals do not beat each other"
    rows = two_rows()
    assert measures.front(compared(rows)) == rows[:1], "the upper bound is no contender"


def test_the_dip_by_hand() -> None:
    curve = [(0.5, [25.0, 9.0]), (1.0, [30.0, 9.0]), (1.25, [22.5, 20.0]), (1.5, [24.0, 25.0]), (2.0, [26.0, 30.0])]
    dip = measures.deepest_dip(curve)
    assert dip == Dip(task=1, before=30.0, lowest=22.5, after=26.0, at=1.25)
    assert dip is not None
    assert dip.depth == 7.5
    # The third task takes 6 dB, less; then 8, more.
    assert measures.deepest_dip([*curve, (2.5, [20.0, 10.0]), (3.0, [25.0, 10.0])]) == dip
    assert measures.deepest_dip([*curve, (2.5, [18.0, 10.0]), (3.0, [25.0, 10.0])]) == Dip(2, 26.0, 18.0, 25.0, 2.5)
    rising = measures.deepest_dip([(1.0, [20.0]), (1.5, [21.0]), (2.0, [22.0])])
    assert rising is not None
    assert rising.depth == 0.0
    assert measures.deepest_dip(curve[:2]) is None, "nothing came after the first task"
    assert measures.deepest_dip([]) is None
    assert measures.deepest_dip([(1.0, [math.nan]), (2.0, [math.nan])]) is None, "the first task has no view"


def test_old_views_by_hand() -> None:
    tasks = ["a", "b", "c"]
    first = result([[30.0, 1.0, 1.0], [28.0, 31.0, 1.0], [27.0, 25.0, 32.0]], tasks=tasks)
    second = result([[32.0, 1.0, 1.0], [28.0, 33.0, 1.0], [29.0, 29.0, 32.0]], tasks=tasks)
    second["views"][0]["psnr"][-1] += 2.0
    found = measures.old_views(row("replay", [first, second]))
    # b fell by 6 and 4, a by 3 and 3, its first view in the second seed by 1; c is not old.
    shown = [(view.task, view.position, view.name, view.change) for view in found]
    assert shown == [(1, 0, "r_0", -5.0), (1, 1, "r_1", -5.0), (0, 1, "r_1", -3.0), (0, 0, "r_0", -2.0)]
    assert (found[0].before, found[0].after) == (33.0, 28.0)


def test_sentences_say_what_the_figures_say() -> None:
    finetune = row("finetune", [result([[30.0, 10.0], [20.0, 31.0]])], "lower")
    soft = row("<soft>", [result([[30.0, 10.0], [27.0, 30.0]], kept=2048.0)])
    joint = row("joint", [result([[30.0, 10.0], [32.0, 32.0]], kept=8192.0)], "upper")
    found = compared([finetune, soft, joint])
    assert str(findings.best_sentence(found)) == (
        "<b>&lt;soft&gt;</b> ends highest: 28.50 dB, mean over all tasks, 2.0 KB kept of the past, "
        "3.50 dB below <b>joint</b>; <b>finetune</b> ends at 25.50."
    )
    assert str(findings.front_sentence(found)) == (
        "On the front, where no other row keeps as little and ends as high: "
        "<b>finetune</b>, <b>&lt;soft&gt;</b> (2 of 2 rows)."
    )
    assert str(findings.forgetting_sentence(found)) == (
        "<b>&lt;soft&gt;</b> forgets least: what was learned before the last task changes by −3.00 dB; "
        "<b>finetune</b> forgets most, −10.00 dB."
    )
    dips = {"finetune": Dip(1, 30.0, 18.0, 20.0, 1.5), "<soft>": Dip(1, 30.0, 26.5, 27.0, 1.5)}
    assert str(findings.dip_sentence(found, dips)) == (
        "After a switch, right falls by up to 12.00 dB with <b>finetune</b>, "
        "and by 3.50 dB with <b>&lt;soft&gt;</b>, the least."
    )
    views = {each.label: measures.old_views(each) for each in found.rows}
    assert str(findings.views_sentence(found, views)) == ("Of 2 old views, 2 lose more than 1 dB with <b>finetune</b>.")


# Pictures and plots


def picture_in(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGB"))


def test_pictures_keep_their_pixels_and_large_ones_are_shrunk() -> None:
    assert (picture_in(png_uri(picture(1), 64)) == picture(1)).all()
    assert picture_in(png_uri(np.zeros((300, 600, 3), dtype=np.uint8), 96)).shape == (48, 96, 3)


def test_the_views_that_lose_most_come_first_with_their_errors_in_the_same_colours() -> None:
    rows = two_rows()
    for each in rows:
        each.history.psnr[-1][0][1] -= 9.0
    # The second row renders the second view right.
    rows[1].history.pictures[-1][1] = picture(8)
    found = pictures_of(compared(rows), most=2, side=64)
    assert (found.views, found.heads) == ([1, 0], ["truth", "after right", "after left", "error"])
    captions, uris = zip(*found.tiles["replay"][0], strict=True)
    assert captions == ("r_1", "29.00 dB", "16.00 dB", "error")
    assert (picture_in(uris[0]) == picture(8)).all()
    assert (picture_in(uris[2]) == picture(101)).all()
    assert (picture_in(found.tiles["joint"][0][3][1]) == [0, 0, 4]).all(), "no error is magma's darkest colour"


def test_names_in_a_plot_never_cover_each_other() -> None:
    plot, taken = Plot((400, 300), (40.0, 10.0, 390.0, 280.0), "crowded"), []
    rng = np.random.default_rng(0)
    for k in range(60):
        x, y = rng.uniform((40, 10), (390, 280))
        plot.name(f"replay {k} of the worst", x, y, taken)
    assert len(taken) > 8
    for k, one in enumerate(taken):
        assert one[0] >= 40.0
        assert one[2] <= 390.0
        for other in taken[:k]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_ticks_are_round() -> None:
    assert round_ticks(21.3, 30.2, 6) == [22.0, 24.0, 26.0, 28.0, 30.0]
    assert round_ticks(-0.12, 0.31, 5) == [-0.1, 0.0, 0.1, 0.2, 0.3]
    assert round_ticks(0.0, 1.0, 2) == [0.0, 0.5, 1.0]


# The page


class Page(HTMLParser):
    """What is on the page: checks that every element is closed, and that nothing comes from elsewhere."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        assert tag not in ("script", "iframe", "object", "link", "base")
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith("data:image/png;base64,") or re.fullmatch(r"#[\w-]+", value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_whole_and_needs_no_other() -> None:
    text = html_page(compared(two_rows()))
    page = Page(text)
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg" and "class" in attributes:
            assert attributes["aria-label"]
            assert "viewBox" in attributes or "viewbox" in attributes
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert set(links) <= set(ids)
    for told in ("28.00 ± 2.83", "−1.50 ± 0.00", "seeds 0, 1", "a machine, 2 threads", "nerfcl 0.1.0"):
        assert told in page.text
    assert "nerfcl compare --data '/home/<me>/scene'" in page.text
    assert "minus joint" in page.text


def test_whatever_a_label_is_it_stays_text() -> None:
    rows = [row(NASTY, two_rows()[0].results), row("plain", two_rows()[0].results, "lower")]
    text = html_page(compared(rows, [NASTY, "left"]))
    page = Page(text)
    assert page.text.count(NASTY) > 5
    assert "<b>&" not in text.replace("<b>&lt;", "")
    titles = [attributes["title"] or "" for tag, attributes in page.tags if tag == "i" and "title" in attributes]
    assert any(NASTY in title for title in titles)


@pytest.mark.parametrize(("count", "tasks", "seeds"), [(1, ["all"], 1), (3, TWO, 1), (12, TEN, 2)])
def test_pages_of_any_size_have_what_they_can_have(count: int, tasks: list[str], seeds: int) -> None:
    rows = many_rows(3, tasks, seeds)[1:2] if count == 1 else many_rows(count, tasks, seeds)
    page = Page(html_page(compared(rows, tasks)))
    heads = {"PSNR against bytes", "Every task after every task", "While training", "Old views, one by one"}
    assert {head for head in heads if head in page.text} == (heads if len(tasks) > 1 else {"PSNR against bytes"})
    assert ("±" in page.text) == (seeds > 1)
    assert ("gap to the upper bound" in page.text) == (count > 1)
    assert page.text.count("the other 4") == (3 if count == 12 else 0), "of twelve rows eight are unfolded"


def test_a_task_without_test_views_has_no_figure() -> None:
    page = Page(html_page(compared([row("replay", [result([[30.0, 10.0], [26.0, 31.0]])])])))
    assert "–" not in page.text
    unseen = compared([row("replay", [result([[30.0, None], [26.0, None]])], curve=[(2.0, [26.0, math.nan])])])
    assert "–" in Page(html_page(unseen)).text


def test_the_file_is_written_whole_and_is_not_large(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    found = compared(many_rows(30, TEN, 5), TEN)
    html_report(path, found)
    Page(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_500_000
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(NerfclError, match=r"taken\.html"):
        html_report(tmp_path / "taken.html", found)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "taken.html"]


def test_a_path_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    rows = two_rows()
    found = compared([row("caf\udce9", rows[0].results), rows[1]])
    html_report(tmp_path / "report.html", found)
    assert "caf?" in (tmp_path / "report.html").read_text(encoding="utf-8")


# In a browser


def browse(page: Path, width: int, *arguments: str) -> str:
    """What Chromium prints when it opens a page, or its error."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},3000", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("many", [False, True])
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path: Path, width: int, many: bool) -> None:
    path = tmp_path / "report.html"
    html_report(path, compared(many_rows(24, TEN, 2), TEN) if many else compared(two_rows()))
    # Chromium's own window is at least 500 pixels wide; a frame can be narrower. The page itself allows no script.
    unfolded = path.read_text(encoding="utf-8").replace("<details>", "<details open>")
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{html.escape(unfolded)}"></iframe>'
    measure = "const page = frames[0].document.documentElement; document.title = [page.clientWidth, page.scrollWidth]"
    framed = f"<title></title>{frame}<script>onload = () => {{ {measure} }}</script>"
    (tmp_path / "framed.html").write_text(framed, encoding="utf-8")
    found = re.search(r"<title>(\d+),(\d+)</title>", browse(tmp_path / "framed.html", 1400, "--dump-dom"))
    assert found is not None
    inner, needed = map(int, found.groups())
    assert width - 20 <= inner <= width, "but for a scroll bar"
    assert needed <= inner

    browse(path, width, f"--screenshot={tmp_path / 'shot.png'}")
    with Image.open(tmp_path / "shot.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == width
    drawn = (pixels != 255).any(-1)
    assert drawn[:800].mean() > 0.02
    assert drawn[-800:].mean() > 0.02
    assert not drawn[:, [0, -1]].any(), "nothing touches the edges"


# PSNR against bytes, as a picture


def test_a_line_joins_what_differs_in_bytes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(against_bytes, "save", lambda figure, _: figures.append(figure))
    rows = [
        row("finetune", [result([[30.0, 10.0], [20.0, 31.0]], kept=0.0)], "lower"),
        row("replay @ 4K", [result([[30.0, 10.0], [28.0, 30.0]], kept=4096.0)]),
        row("replay @ 1K", [result([[30.0, 10.0], [26.0, 30.0]], kept=1024.0)]),
        row("best", [result([[30.0, 10.0], [30.0, 31.0]], kept=2048.0)]),
        row("joint", [result([[30.0, 10.0], [31.0, 31.0]], kept=8192.0)], "upper"),
    ]
    families = [rows[:1], rows[1:3], [], rows[3:4], rows[4:]]
    assert against_bytes.bytes_figure(tmp_path / "bytes.png", compared(rows), families)
    (axes,) = figures[0].axes
    drawn = {box.get_label(): [tuple(map(float, xy)) for xy in box[0].get_xydata()] for box in axes.containers}
    assert drawn == {"best": [(2048.0, 30.5)], "replay": [(1024.0, 28.0), (4096.0, 29.0)]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best", "replay"]
    assert {text.get_text() for text in axes.texts} == {"finetune 25.5", "joint 31.0"}
    bounds = [rows[0], rows[4]]
    assert not against_bytes.bytes_figure(tmp_path / "bytes.png", compared(bounds), [bounds[:1], bounds[1:]])
    assert len(figures) == 1


def test_the_picture_of_many_strategies_is_written(tmp_path: Path) -> None:
    rows = many_rows(20, TWO, seeds=2)
    assert against_bytes.bytes_figure(tmp_path / "bytes.png", compared(rows), [[each] for each in rows])
    with Image.open(tmp_path / "bytes.png") as image:
        assert image.width > 900
