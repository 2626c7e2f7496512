"""The web page of a comparison: its parts by hand, its text parsed, and how a browser lays it out."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfcl.reports.comparison.summary import ComparisonSummary, Dip
from nerfcl.reports.html import findings
from nerfcl.reports.html.page import html_page, html_report
from nerfcl.reports.html.pictures import pictures_of, png_uri
from nerfcl.reports.html.svg import Plot, round_ticks
from nerfcl.reports.html.table import table_columns
from reports.summaries import TEN, TWO, comparison, many_summaries, result, single, summary, two_summaries
from support.pictures import assert_apart, noise

NASTY = '<b>&"\'</b><script src="http://x/y.js">'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def cells_in(found: ComparisonSummary) -> dict[str, list[str]]:
    """By the columns' heads: the mean of each row, the best in stars."""
    return {
        column.head: [f"*{cell.text}*" if cell.best else cell.text for cell in column.cells]
        for column in table_columns(found)
    }


# The table


def test_the_best_is_bold_whoever_it_is_but_never_the_upper_bound() -> None:
    rows = [
        single("finetune", [[30.0, 10.0], [20.0, 31.0]], "lower bound"),
        single("replay", [[30.0, 10.0], [25.0, 30.0]], kept=4096.0, seconds=12.0),
        single("soft", [[30.0, 10.0], [25.001, 29.0]], kept=2048.0, seconds=30.0),
        single("joint", [[30.0, 10.0], [32.0, 32.0]], "upper bound", kept=8192.0, seconds=9.0),
    ]
    assert cells_in(comparison(rows)) == {
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
    alone = [summary("replay", [result([[30.0]], tasks=["all"])])]
    assert list(cells_in(comparison(alone, ["all"]))) == ["all", "kept", "seconds"]
    many = cells_in(comparison(many_summaries(3, TEN, 1), TEN))
    assert list(many)[:4] == ["sector 1/10", "sector 10/10", "mean of all", "backward transfer"]
    assert cells_in(comparison([single("replay", [[30.0, None], [26.0, None]])]))["left"] == ["–"]


# Sentences


def test_sentences_say_what_the_values_say() -> None:
    finetune = single("finetune", [[30.0, 10.0], [20.0, 31.0]], "lower bound")
    soft = single("<soft>", [[30.0, 10.0], [27.0, 30.0]], kept=2048.0)
    joint = single("joint", [[30.0, 10.0], [32.0, 32.0]], "upper bound", kept=8192.0)
    found = comparison([finetune, soft, joint])
    assert str(findings.best_sentence(found)) == (
        "<b>&lt;soft&gt;</b> is best: 28.50 dB, mean over all tasks, with 2.0 KB kept of the past, "
        "3.50 dB below <b>joint</b>; <b>finetune</b> reaches 25.50 dB."
    )
    assert str(findings.front_sentence(found)) == (
        "On the Pareto front of bytes and PSNR: <b>finetune</b>, <b>&lt;soft&gt;</b> (2 of 2 configurations)."
    )
    assert str(findings.forgetting_sentence(found)) == (
        "<b>&lt;soft&gt;</b> forgets least: backward transfer −3.00 dB; <b>finetune</b> forgets most: −10.00 dB."
    )
    views = {each.label: each.old_views for each in found.summaries}
    assert str(findings.views_sentence(found, views)) == "Of 2 old views, 2 lose more than 1 dB with <b>finetune</b>."


def test_the_sentence_on_dips_names_the_deepest_and_the_least() -> None:
    found = comparison(two_summaries())
    deep, shallow, none = Dip(1, 30.0, 18.0, 20.0, 1.5), Dip(1, 30.0, 26.5, 27.0, 1.5), Dip(1, 30.0, 31.0, 32.0, 1.5)
    drops = "After a switch, right drops by up to 12.00 dB with <b>a</b>"
    for dips, sentence in (
        ({"a": deep, "<b>": shallow}, f"{drops}, and by only 3.50 dB with <b>&lt;b&gt;</b>."),
        ({"a": deep, "b": none}, f"{drops}; with <b>b</b> it never drops."),
        ({"a": deep}, f"{drops}."),
        ({"a": none}, "right never drops after a switch."),
        ({}, "right was not evaluated while later tasks were learned."),
    ):
        assert str(findings.dip_sentence(found, dips)) == sentence


# Pictures and plots


def picture_in(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGB"))


def test_pictures_keep_their_pixels_and_large_ones_are_shrunk() -> None:
    assert (picture_in(png_uri(noise(16, 16), 64)) == noise(16, 16)).all()
    assert picture_in(png_uri(np.zeros((300, 600, 3), dtype=np.uint8), 96)).shape == (48, 96, 3)


def test_the_views_that_lose_most_come_first_with_their_errors_in_the_same_colours() -> None:
    rows = two_summaries()
    found = comparison(rows)
    for each in rows:
        each.history.psnr[-1][0][1] -= 9.0
    # The second row renders the second view right.
    rows[1].history.renderings[-1][1] = found.truths[1]
    pictures = pictures_of(found, most=2, side=64)
    assert (pictures.views, pictures.heads) == ([1, 0], ["truth", "after right", "after left", "error"])
    captions, uris = zip(*pictures.tiles["replay"][0], strict=True)
    assert captions == ("r_1", "29.00 dB", "16.00 dB", "error")
    assert (picture_in(uris[0]) == found.truths[1]).all()
    assert (picture_in(uris[2]) == rows[0].history.renderings[-1][1]).all()
    assert (picture_in(pictures.tiles["joint"][0][3][1]) == [0, 0, 4]).all(), "no error is magma's darkest colour"


def test_names_in_a_plot_never_cover_each_other() -> None:
    plot, taken = Plot((400, 300), (40.0, 10.0, 390.0, 280.0), "crowded"), []
    rng = np.random.default_rng(0)
    for k in range(60):
        x, y = rng.uniform((40, 10), (390, 280))
        plot.name(f"replay {k} of the worst", x, y, taken)
    assert len(taken) > 8
    assert all(box[0] >= 40.0 and box[2] <= 390.0 for box in taken)
    assert_apart([("name", box) for box in taken])


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
    text = html_page(comparison(two_summaries()))
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
    for told in ("28.00 ± 2.83", "−1.50 ± 0.00", "seeds 0, 1", "a machine, 2 threads", "nerfcl 0.1.0", "minus joint"):
        assert told in page.text
    assert "nerfcl compare --data '/home/<me>/scene'" in page.text
    assert "steps 100" in page.text, "all options"


def test_whatever_a_label_is_it_stays_text() -> None:
    results = two_summaries()[0].results
    text = html_page(comparison([summary(NASTY, results), summary("plain", results, "lower bound")], [NASTY, "left"]))
    page = Page(text)
    assert page.text.count(NASTY) > 5
    assert "<b>&" not in text.replace("<b>&lt;", "")
    titles = [attributes["title"] or "" for tag, attributes in page.tags if tag == "i" and "title" in attributes]
    assert any(NASTY in title for title in titles)


@pytest.mark.parametrize(("count", "tasks", "seeds"), [(1, ["all"], 1), (3, TWO, 1), (12, TEN, 2)])
def test_pages_of_any_size_have_what_they_can_have(count: int, tasks: list[str], seeds: int) -> None:
    rows = many_summaries(3, tasks, seeds)[1:2] if count == 1 else many_summaries(count, tasks, seeds)
    page = Page(html_page(comparison(rows, tasks)))
    heads = {"PSNR against bytes", "PSNR after each task", "Training curves", "Old views, one by one"}
    assert {head for head in heads if head in page.text} == (heads if len(tasks) > 1 else {"PSNR against bytes"})
    assert ("±" in page.text) == (seeds > 1)
    assert ("gap to the upper bound" in page.text) == (count > 1)
    assert page.text.count("the other 4") == (3 if count == 12 else 0), "of twelve rows eight are unfolded"


def test_a_task_without_test_views_has_no_value() -> None:
    assert "–" not in Page(html_page(comparison([single("replay", [[30.0, 10.0], [26.0, 31.0]])]))).text
    unseen = summary("replay", [result([[30.0, None], [26.0, None]])], curve=[(2.0, [26.0, None])])
    assert "–" in Page(html_page(comparison([unseen]))).text


def test_the_file_is_not_large(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    html_report(path, comparison(many_summaries(30, TEN, 5), TEN))
    Page(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_500_000


def test_a_path_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    rows = two_summaries()
    html_report(tmp_path / "report.html", comparison([summary("caf\udce9", rows[0].results), rows[1]]))
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
    html_report(path, comparison(many_summaries(24, TEN, 2), TEN) if many else comparison(two_summaries()))
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
