"""The page that a run of training leaves."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from nets import BPClassifier, BPRegressor
from nets.cli import main
from nets.datasets import Dataset
from nets.report import report_of, write_report

pytest.importorskip("matplotlib")


class Page(HTMLParser):
    """Tags that are closed, the addresses that are named, and the text."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def checked(text: str, pictures: int) -> Page:
    """A page whose tags are closed, and which needs nothing from outside."""
    page = Page(text)
    assert len(page.addresses) == pictures
    for address in page.addresses:
        head, _, data = address.partition(",")
        assert head == "data:image/svg+xml;base64"
        svg = ET.fromstring(base64.b64decode(data))
        links = [value for element in svg.iter() for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(|<script|<link", text)
    assert 'name="viewport"' in text
    return page


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "run.html"
    arguments = ["train", "digits", "--hidden", "15", "--epochs", "2", "--validate", "300", "--report", str(path)]
    assert main(arguments) == 0
    text = path.read_text(encoding="utf-8")
    assert f"nets train digits --hidden 15 --epochs 2 --validate 300 --report {path}" in text
    return text


def test_a_run_on_images_leaves_one_page_that_needs_nothing_else(digits: str) -> None:
    text = checked(digits, 5).text
    for words in ("digits, held out: 64-15-10", "898", "300", "class 9", "'standardize' (chosen)", "scikit-learn", "begun"):
        assert words in text
    assert len(digits) < 1_000_000


def test_the_figures_are_those_of_evaluate() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 4)), rng.integers(0, 2, 200)
    labels = np.array(["<no>", "yes & no"])[y]
    data = Dataset("odd <names>", X[:120], labels[:120], X[120:], labels[120:])
    model = BPClassifier((5,), epochs=2, random_state=0).fit(data.X_train, data.y_train)
    found = model.evaluate(data.X_test, data.y_test)
    page = checked(report_of(model, data, ["nets", "train", "my file.npz"], datetime.now(UTC)), 4)
    assert f"{found['test_error']:.2f} {found['test_error_bayes']:.2f}" in page.text
    assert f"{found['ece']:.2f} {found['ece_bayes']:.2f}" in page.text
    assert "class <no>" in page.text
    assert "nets train 'my file.npz'" in page.text


def test_numbers_have_coverage_in_their_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    data = Dataset("numbers", X[:120], X[:120, 0], X[120:], X[120:, 0], ["width", "height"])
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame(data.X_train, columns=data.features)
    model = BPRegressor((5,), epochs=2, random_state=0).fit(rows, data.y_train)
    write_report(tmp_path / "run.html", model, data)
    page = checked((tmp_path / "run.html").read_text(encoding="utf-8"), 4)
    coverage = model.evaluate(pandas.DataFrame(data.X_test, columns=data.features), data.y_test)["coverage_bayes"]
    for words in ("width, height", f"{coverage:.1f} %", "root mean square error", "deviation of the noise"):
        assert words in page.text


def test_a_table_of_labels_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},{z:.3f},{'up' if x > 0 else 'down'}" for x, z in rng.normal(size=(120, 2))]
    (tmp_path / "table.csv").write_text("\n".join(["x,z,way", *rows]), encoding="utf-8")
    arguments = ["train", str(tmp_path / "table.csv"), "--target", "way", "--hidden", "5", "--epochs", "1"]
    assert main([*arguments, "--report", str(tmp_path / "run.html")]) == 0
    text = checked((tmp_path / "run.html").read_text(encoding="utf-8"), 5).text
    assert "x, z" in text
    assert "class down" in text


@pytest.mark.parametrize("where", ["absent/run.html", ""])
def test_what_cannot_be_written_is_told_before_training(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--epochs", "1", "--report", str(tmp_path / where)]) == 1
    captured = capsys.readouterr()
    assert "its folder does not exist, or the path is a folder" in captured.err
    assert not captured.out


def test_without_matplotlib_it_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "digits", "--report", str(tmp_path / "run.html")]) == 1
    captured = capsys.readouterr()
    assert 'pip install "factorgraph-nets[plot]"' in captured.err
    assert not captured.out
    assert not list(tmp_path.iterdir())
