"""The report: one page without outside resources, honest about what was not measured, files beside it."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from facefill.metrics.perceptual import NO_BACKBONE
from pipelines.contact_sheet import CAPTION_HEIGHT, GAP, Shown, contact_sheet
from pipelines.evaluate import METHODS, OURS, Evaluation
from pipelines.figures import bucket_curves, metric_series, smooth, training_curves
from pipelines.report import COLUMNS, ReportPage, markdown_table, report_html, write_report
from pipelines.statistics import summarize
from pipelines.tables import read_table

PNG_START = b"\x89PNG"


def some_rows(lpips: bool, pictures: int = 12) -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    rows = []
    for position in range(pictures):
        for quality, method in enumerate(METHODS):
            values = {
                name: None if name.startswith("lpips") and not lpips else quality + generator.random() / 2
                for name in COLUMNS
            }
            where = {"key": f"face/{position}", "position": position, "bucket": position % 10, "ratio": 0.05}
            rows.append(where | {"method": method} | values | {"seconds": 0.25})
    return rows


def some_face(key: str) -> Shown:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    return Shown(key, 0.35, {OURS: 23.45}, {"input": pixels, OURS: pixels, "ground truth": pixels})


def page(lpips: bool = True, **changes: object) -> ReportPage:
    evaluation = Evaluation(
        some_rows(lpips),
        [("face/99", "face region of 3 pixels: too small for a hole, leave the picture out")],
        [some_face("face/<1>")],
        [some_face("face/2")],
    )
    lines = [{"step": step, "kind": "metrics", "time": 0.0, "loss/albedo": 1 / step} for step in range(1, 50)]
    settings = {
        "title": "facefill: test",
        "subtitle": "Twelve faces.",
        "evaluation": evaluation,
        "seed": 7,
        "data": [{"data set": "celeba", "pictures": 12}],
        "curves": {"inpaint": lines, "segment": []},
        "sweep": [{"trial": "0001", "loss_weights.symmetry": 0.5, "metric/psnr_hole": 21.23456, "why": None}],
        "provenance": {"config digest": "abc123"},
        "config": "name: test\nlist: [<a>]\n",
    }
    return ReportPage(**(settings | changes))  # type: ignore[arg-type]


class Links(HTMLParser):
    """Every address that the page asks for, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attributes if name in ("src", "href") and value]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_asks_for_nothing_outside() -> None:
    html = report_html(page())
    links = Links()
    links.feed(html)
    assert links.open == []
    assert links.addresses
    assert all(address.startswith(("data:image/", "#")) for address in links.addresses)
    assert "@import" not in html
    assert "url(" not in html
    targets = [address[1:] for address in links.addresses if address.startswith("#")]
    assert all(f'id="{target}"' in html for target in targets)


def test_what_the_page_tells() -> None:
    html = report_html(page())
    for text in ("facefill: test", "celeba", "0001", "21.235", "abc123", "seed 7"):
        assert text in html, text
    assert "too small for a hole" in html
    assert "Not comparable" in html
    assert "30.49" in html  # the paper's PSNR on CelebA
    assert "Gaussian window 11" in html
    assert "35 % of the face hidden" in html
    assert "23.4 dB" in html or "23.5 dB" in html
    assert "Nothing was logged" in html  # stage segment
    assert "face/&lt;1&gt;" in html
    assert "[&lt;a&gt;]" in html


def test_best_of_a_column_is_bold() -> None:
    """Made-up values grow along METHODS: ours has the best PSNR and SSIM, the first method the best LPIPS."""
    html = report_html(page())
    overall = html[html.index('id="results"') : html.index("Ours less the others")]
    rows = {
        line.split("<td>")[1].split("<")[0]: line
        for line in overall.splitlines()
        if "<tr" in line and "<td>" in line
    }
    assert rows[OURS].count("best") == 6
    assert rows[METHODS[0]].count("best") == 3
    assert rows[METHODS[1]].count("best") == 0


def test_without_a_backbone_the_page_says_so() -> None:
    html = report_html(page(lpips=False))
    assert NO_BACKBONE in html
    assert "LPIPS in the hole" not in html
    assert NO_BACKBONE not in report_html(page())
    assert markdown_table(page(lpips=False).evaluation).endswith(NO_BACKBONE)


def test_markdown_table() -> None:
    lines = markdown_table(page().evaluation).splitlines()
    assert len(lines) == 2 + len(METHODS)
    assert lines[0].startswith("| method | psnr image | ssim image | lpips image | psnr face")
    assert {line.count("|") for line in lines} == {11}


def test_a_page_of_nothing_still_stands() -> None:
    empty = page(evaluation=Evaluation(skipped=[("a", "b")]), curves={}, sweep=(), data=(), provenance={})
    html = report_html(empty)
    assert "No picture could be measured" in html


def test_files(tmp_path: Path) -> None:
    url = write_report(str(tmp_path / "evaluation"), page())
    folder = tmp_path / "evaluation"
    assert Path(url).name == "report.html"
    rows = read_table(str(folder / "metrics.parquet"))
    assert rows == page().evaluation.rows
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["pictures"] == 12
    assert summary["lpips"] == "computed"
    assert len(summary["summary"]) == len(METHODS) * 11
    assert sorted(path.name for path in (folder / "sheets").iterdir()) == ["by_ratio_00.png", "worst_00.png"]


def test_contact_sheet_layout() -> None:
    faces = [some_face("a"), some_face("b")]
    sheet = contact_sheet(faces)
    step = 24 + GAP
    assert sheet.shape == (CAPTION_HEIGHT + 2 * step - GAP, 3 * step - GAP, 3)
    corner = sheet[CAPTION_HEIGHT + step : CAPTION_HEIGHT + step + 24, step : step + 24]
    assert np.array_equal(corner, faces[1].tiles[OURS])


@pytest.mark.parametrize("lpips", [True, False])
def test_curves_are_pictures(lpips: bool) -> None:
    summary = summarize(some_rows(lpips), COLUMNS)
    figure = bucket_curves(summary, "hole")
    assert figure is not None
    assert figure.startswith(PNG_START)
    assert bucket_curves([], "hole") is None
    assert training_curves([]) is None


def test_series_leave_out_what_is_not_finite() -> None:
    lines = [
        {"step": 1, "kind": "metrics", "loss/a": 2.0, "time": 5.0},
        {"step": 2, "loss/a": None, "metric/b": 1},
    ]
    assert metric_series(lines) == {"loss/a": [(1, 2.0)], "metric/b": [(2, 1)]}


def test_running_mean() -> None:
    values = np.arange(100.0)
    assert np.allclose(smooth(values)[5:-5], values[5:-5])
    assert smooth(np.array([3.0])).tolist() == [3.0]
