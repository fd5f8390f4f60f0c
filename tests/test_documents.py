"""README's, the tutorial's and the examples' code runs and gives what is shown."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d*")


class NearlyEqual(doctest.OutputChecker):
    """Text must be equal, whole numbers too; decimal fractions to 0.02, or to 1 where they are errors in percent."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if NUMBER.sub("#", want).split() != NUMBER.sub("#", got).split():
            return False
        allowed = 1.0 if "error" in want else 0.02
        pairs = zip(NUMBER.findall(want), NUMBER.findall(got), strict=True)
        return all(abs(float(a) - float(b)) <= allowed for a, b in pairs)


@pytest.mark.parametrize("document", ["README.md", "docs/engine.md", "docs/tables.md"])
def test_documents_show_real_output(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8").replace("```\n", "\n")
    test = doctest.DocTestParser().get_doctest(text, {}, document, document, 0)
    assert len(test.examples) > 10
    runner = doctest.DocTestRunner(checker=NearlyEqual(), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each checks its own answers; pictures go to the working folder."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_commands_of_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("install", "train", "test"):
        assert f"\n{target}: " in makefile
