"""All code in README, in the documentation and in the examples runs, and gives what is shown."""

from __future__ import annotations

import doctest
import re
import runpy
import shlex
import shutil
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
import factorgraph.testing
import nets
from factorgraph import cli as factorgraph_cli
from nets import BPClassifier, options

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d*")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The page's code in one language, block by block, less what the blocks are indented by."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, name, text in found if name == language]


def with_prompts(page: Path) -> str:
    return "\n".join(block for block in blocks(page, "python") if block.startswith(">>>"))


class NearlyEqual(doctest.OutputChecker):
    """
    Text must be equal, whole numbers too; decimal fractions to 0.001.

    What a trained network gives varies a little with the processor: to 0.02, or to 1 where it is an error in percent.
    """

    def __init__(self, trained: bool) -> None:
        self.trained = trained

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if NUMBER.sub("#", want).split() != NUMBER.sub("#", got).split():
            return False
        allowed = 0.001 if not self.trained else 1.0 if "error" in want else 0.02
        pairs = zip(NUMBER.findall(want), NUMBER.findall(got), strict=True)
        return all(abs(float(a) - float(b)) <= allowed for a, b in pairs)


@pytest.mark.parametrize("page", [page for page in PAGES if with_prompts(page)], ids=name_of)
def test_code_with_prompts_gives_what_is_shown(page: Path) -> None:
    if 'backend="compiled"' in with_prompts(page) and shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    test = doctest.DocTestParser().get_doctest(with_prompts(page), {}, name_of(page), str(page), 0)
    checker = NearlyEqual(trained="from nets import" in with_prompts(page))
    runner = doctest.DocTestRunner(checker=checker, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


def test_pages_with_code_are_found() -> None:
    assert sum(bool(with_prompts(page)) for page in PAGES) > 20


def grid() -> tuple[fg.FactorGraph, fg.Variables]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (6, 6))
    graph.add_factors("down", fg.Ising(0.3), x[:-1], x[1:])
    return graph, x


def has_gpu() -> bool:
    try:
        fg.get_backend("cupy")
    except fg.BackendUnavailableError:
        return False
    return True


def test_code_for_a_gpu_runs_there_or_else_on_numpy() -> None:
    (block,) = [block for block in blocks(ROOT / "docs/how_to/gpu.md", "python") if not block.startswith(">>>")]
    graph, _ = grid()
    if not has_gpu():
        block = block.replace('"cupy"', '"numpy"')
    names: dict[str, Any] = {"fg": fg, "graph": graph, "BPClassifier": BPClassifier}
    exec(block, names)
    assert names["inference"].run().converged


def test_code_for_several_machines_runs_on_one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, parts = [block for block in blocks(ROOT / "docs/how_to/machines.md", "python") if not block.startswith(">>>")]
    network = network.replace("(2001, 2001)", "(11,)").replace('"mpi"', "None").replace("1024", "20")
    parts = parts.replace('"mpi"', "None")
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(60, 4))
    graph, x = grid()
    names: dict[str, Any] = {"fg": fg, "graph": graph, "BPClassifier": BPClassifier, "X": rows, "y": rows[:, 0] > 0}
    exec(network, names)
    assert (tmp_path / "model.npz").exists()
    pytest.importorskip("pymetis")
    exec(parts, names)
    np.testing.assert_allclose(names["whole"], fg.run(graph).marginals(x), atol=1e-6)


@pytest.mark.parametrize("peer", ["pgmax", "pgmpy"])
def test_code_of_other_libraries_runs_where_they_are_installed(peer: str) -> None:
    (block,) = [b for b in blocks(ROOT / f"docs/coming_from/{peer}.md", "python") if not b.startswith(">>>")]
    code = compile(block, peer, "exec")
    if find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed; its code was only compiled")
    evidence = np.random.default_rng(0).gumbel(size=(10, 10, 2))
    exec(code, {"np": np, "evidence": evidence})


def commands(page: Path) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [line for line in lines if re.match(r"(mpiexec .* |srun )?(nets|factorgraph) ", line)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_are_understood(page: Path) -> None:
    """Their options exist; nothing is run."""
    parsers = {"nets": options.parser_of(defaultdict(lambda: int)), "factorgraph": factorgraph_cli.make_parser()}
    for line in commands(page):
        words = shlex.split(line, comments=True)
        start = next(i for i, word in enumerate(words) if word in parsers)
        parsers[words[start]].parse_args(words[start + 1 :])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_can_be_imported(path: Path) -> None:
    """`make docs` runs them all, and fails where one finds that its answers are wrong."""
    runpy.run_path(str(path))


def test_the_reference_has_all_public_names() -> None:
    listed = {
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^   (\w+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert {*fg.__all__, *nets.__all__, *fg.testing.__all__} - listed == set()


LINK = re.compile(r"(?<!`)\]\(([^)#`\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link, _ in LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_commands_of_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("install", "train", "test", "docs"):
        assert f"\n{target}: " in makefile
