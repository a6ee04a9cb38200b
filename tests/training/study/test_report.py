"""Reports from directories of runs."""

import re
import shutil
import statistics
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dnnlib.cli import run
from scripts.study import main
from tests.training.study.runs import STUDY, write_run
from training.study.charts import Point, line_chart
from training.study.results import find_results, read_study
from training.study.status import format_status

DISTANCES = {
    "stylegan2": {2: 300.0, 10: 200.0, 50: 100.0, 100: 80.0},
    "simplex": {2: 310.0, 10: 190.0, 50: 90.5, 100: 60.25},
}


@pytest.fixture
def runs(tmp_path):
    """Two rows with two and one seeds; the third has come half way."""
    directory = tmp_path / "runs"
    write_run(directory, STUDY, "stylegan2", distances=DISTANCES["stylegan2"])
    write_run(directory, STUDY, "simplex", distances=DISTANCES["simplex"], attention=True)
    more = {point: value + 3 for point, value in DISTANCES["simplex"].items()}
    write_run(directory, STUDY, "simplex", seed=7, distances=more, attention=True)
    write_run(directory, STUDY, "duplex", kimg=12, distances={2: 305.0, 10: 150.0}, attention=True)
    return directory


class Page(HTMLParser):
    """Checks that tags match; collects what a page needs and shows."""

    def __init__(self, text):
        super().__init__()
        self.open, self.needs, self.text, self.images = [], [], [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.images += tag == "img"
        for name, value in attributes:
            if name in ("src", "href"):
                self.needs.append(value)
        if tag not in ("img", "meta", "rect", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def table_of(text: str, caption: str) -> dict[str, list[str]]:
    """Return the rows of a Markdown table by their first cell."""
    lines = text[text.index(caption) :].split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def report(runs, out, capsys):
    assert run(main, ["report", str(runs), "--out", str(out)]) == 0
    capsys.readouterr()
    return (out / "report.html").read_text(), (out / "report.md").read_text()


def test_numbers_are_those_of_the_runs(runs, tmp_path, capsys):
    _, text = report(runs, tmp_path / "out", capsys)
    table = table_of(text, "**fd-efficientnet10k (lower is better)**")
    assert table["row"] == ["2 kimg", "10 kimg", "50 kimg", "100 kimg"]
    assert table["stylegan2"] == ["**300.0**", "200.0", "100.0", "80.00"]
    spread = f"{statistics.stdev([60.25, 63.25]):.2f}"
    assert table["simplex"][3] == f"**61.75 ± {spread} (2)**"
    assert table["duplex"] == ["305.0", "**150.0**", "–", "–"]
    recall = table_of(text, "**pr-efficientnet10k3_recall (higher is better)**")
    assert recall["duplex"][1] == "**0.003**"
    assert "Best to worst by fd-efficientnet10k at 10 kimg: duplex, simplex, stylegan2." in text
    assert "Best to worst by pr-efficientnet10k3_recall at 10 kimg: duplex, simplex" in text


def test_unfinished_and_published_are_shown_as_such(runs, tmp_path, capsys):
    page, text = report(runs, tmp_path / "out", capsys)
    assert "3 of 4 runs are finished: 3 rows, 2 seeds, 100 kimg." in text
    assert "Not finished: duplex, seed 0: stopped, 12 of 100 kimg." in text
    published = table_of(text, "Published, not measured here: Somebody 2023. Other images.")
    assert published["row"][:2] == ["published FID", "fd-efficientnet10k here, 100 kimg"]
    assert published["stylegan2"][:2] == ["24.77", "80.00"]
    assert published["duplex"][:2] == ["–", "–"]
    assert "Published order, best to worst: stylegan2, simplex." in text
    for line in ("not measured here", "stopped, 12 of 100 kimg"):
        assert line in page


def test_cost_leaves_the_first_tick_out_of_the_rate_and_in_the_hours(runs, tmp_path, capsys):
    _, text = report(runs, tmp_path / "out", capsys)
    cost = table_of(text, "## Cost")
    hours = (2 * 400 + 2 * sum(36 + shown % 4 for shown in range(4, 101, 2))) / 3600
    expected = ["finished", "100", "36.0", f"{hours:.3g}", "1.5 GB", "float32"]
    assert cost["stylegan2, seed 0"][:6] == expected
    assert cost["stylegan2, seed 0"][6] == "CPU: 2 x Abacus"


def test_settings_and_provenance(runs, tmp_path, capsys):
    _, text = report(runs, tmp_path / "out", capsys)
    settings = table_of(text, "## Settings that differ")
    assert settings == {
        "option": ["stylegan2", "simplex", "duplex"],
        "---": ["---"] * 3,
        "generator.attention": ["none", "simplex", "simplex"],
    }
    facts = table_of(text, "## What was compared with what")
    assert facts["images in the data set"] == ["10000"]
    assert facts["digest of the data set"] == ["d" * 16]
    assert facts["swd2k: images of each side, at most"] == ["2000"]


def test_the_page_needs_nothing_and_is_well_formed(runs, tmp_path, capsys):
    text, _ = report(runs, tmp_path / "out", capsys)
    page = Page(text)
    assert page.open == []
    assert page.images == 3 + 3 + 2 + 2 + 3 + 2  # points, real ones, attention
    assert all(link.startswith("data:image/webp;base64,") for link in page.needs)
    assert not re.search(r"<script|@import|url\(", text)
    assert page.text[:1] == ["A study <for tests>"] and "<for tests>" not in text


def test_every_file_that_the_markdown_names_is_there(runs, tmp_path, capsys):
    _, text = report(runs, tmp_path / "out", capsys)
    names = set(re.findall(r"\]\(([^)]*)\)", text))
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").glob("*/*")}
    assert names == written and len(names) > 20
    for path in (tmp_path / "out").glob("*/*.svg"):
        ElementTree.parse(path)


def test_a_report_from_copied_directories_is_the_same(runs, tmp_path, capsys):
    """Another machine has the directories only, moved and without what training needs."""
    first = report(runs, tmp_path / "out", capsys)
    elsewhere = tmp_path / "elsewhere" / "all"
    shutil.copytree(runs, elsewhere)
    shutil.rmtree(runs)
    assert report(elsewhere, tmp_path / "out2", capsys) == first
    assert read_study(elsewhere) == STUDY


def test_images_are_the_first_of_the_grid_in_their_places(tmp_path, capsys):
    tiles = np.zeros([48, 32, 24, 3], np.uint8) + np.arange(48, dtype=np.uint8)[:, None, None, None]
    runs = tmp_path / "runs"
    write_run(runs, STUDY, "stylegan2", images=tiles, distances=DISTANCES["stylegan2"])
    report(runs, tmp_path / "out", capsys)
    with Image.open(tmp_path / "out" / "report-images" / "stylegan2-10kimg.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * 64, 4 * 48, 3)  # enlarged twice
    assert pixels[::64, ::48, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_study_of_other_seeds_does_not_wait_for_its_own(tmp_path, capsys):
    runs = tmp_path / "runs"
    write_run(runs, STUDY, "simplex", seed=7, distances=DISTANCES["simplex"])
    _, text = report(runs, tmp_path / "out", capsys)
    assert "1 of 3 runs are finished: 3 rows, 1 seed, 100 kimg." in text
    assert "Not finished: stylegan2: not started; duplex: not started." in text
    assert (tmp_path / "out" / "report-images" / "simplex-10kimg.png").is_file()


def test_nothing_there_yet(tmp_path, capsys):
    assert run(main, ["report", str(tmp_path)]) == 2
    assert "holds no runs of a study" in capsys.readouterr().err
    (tmp_path / "study.yaml").write_text(
        "{title: t, data: d, prepare: demo, kimg: 1, points: [1], metrics: swd, "
        "rows: [{name: a, config: demo}]}"
    )
    arguments = ["report", str(tmp_path / "study.yaml"), "--runs", str(tmp_path / "runs")]
    assert run(main, arguments) == 0
    text = (tmp_path / "runs" / "report.md").read_text()
    assert "0 of 1 runs are finished" in text and "a: not started" in text


def test_status(runs):
    lines = format_status(STUDY, find_results(STUDY, runs)).splitlines()
    assert "finished; at 100 kimg fd-efficientnet10k 80" in lines[1]
    assert "duplex (seed 0)" in lines[4] and "stopped, 12 of 100 kimg, 52m 48s" in lines[4]


def test_lines_lie_where_their_numbers_are():
    line = [Point(1, 0, 0, 0), Point(10, 50, 40, 60), Point(100, 100, 100, 100)]
    svg = line_chart({"<a>": line}, x_label="x", y_label="y", x_ticks=[1, 10, 100], log_x=True)
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    (polyline,) = root.iter(f"{space}polyline")
    points = [[float(n) for n in pair.split(",")] for pair in polyline.get("points").split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    texts = {text.text: text for text in root.iter(f"{space}text")}
    assert float(texts["10"].get("x")) == pytest.approx(x2, abs=0.1)
    assert float(texts["60"].get("y")) - 4 == pytest.approx(y3 + 0.4 * (y1 - y3), abs=0.2)
    assert "<a>" in texts
    assert line_chart({}, x_label="x", y_label="y") == ""
