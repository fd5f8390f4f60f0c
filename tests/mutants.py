"""
Changes the core one place at a time and runs the tests that reach it: a change that no test notices is printed.

    python -m pip install coverage
    python tests/mutants.py [--number 100] [--seed 0] [--only TEXT] [--processes 2] [--seconds 600] [--limit 120] [--again FILE]

First every test runs once, and coverage.py records which lines it reaches. Each change then turns one comparison, operation,
constant or condition into another, in a copy of the project, and only the tests that reach this place run: the quick ones
first, then others by chance, until one fails or `--limit` seconds of tests have passed. Constants in capitals are left alone:
most are bounds of memory or thresholds of speed, and 4,097 for 4,096 changes no answer. Some other changes mean nothing either
(a counter that runs backwards): whoever reads the list decides. `--again` tries the survivors in an earlier run's output.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CORE = ("factorgraph/inference", "factorgraph/factors", "factorgraph/variables", "factorgraph/schedules", "nets")
LEFT_OUT = {"figure.py", "plots.py", "report.py", "notebook.py", "published.py", "continual.py", "__init__.py", "memory.py"}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Nodes that can be changed, with what is to change."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.AnnAssign, ast.arguments))
        if is_text or (isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "check", "bind")):
            skipped |= {id(inner) for inner in ast.walk(node)}
        is_setting = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
        if is_setting or (isinstance(node, ast.keyword) and node.arg in ("strict", "flush", "stacklevel")):
            skipped |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):  # what is frozen or cached gives the same answers thawed
            skipped |= {id(inner) for decorator in node.decorator_list for inner in ast.walk(decorator)}
        if isinstance(node, (ast.FunctionDef, ast.arg)):
            hint = node.returns if isinstance(node, ast.FunctionDef) else node.annotation
            skipped |= {id(inner) for inner in ast.walk(hint)} if hint is not None else set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield node, "compare"
        elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
            yield node, "operate"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield node, "unary"
        elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
            yield node, "constant"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, "call"


def changed(tree: ast.Module, number: int) -> tuple[str, int, str, str]:
    """The text with one place changed, the place's line, and what stood and stands there."""
    tree = copy.deepcopy(tree)
    node, kind = list(places(tree))[number]
    before = ast.unparse(node)
    if kind == "compare":
        node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[attr-defined]
    elif kind == "operate":
        node.op = SWAPS[type(node.op)]()  # type: ignore[attr-defined]
    elif kind == "unary":
        inner = node.operand  # type: ignore[attr-defined]
        node.op, node.operand = ast.UAdd(), ast.Call(ast.Name("bool"), [inner], []) if isinstance(node.op, ast.Not) else inner  # type: ignore[attr-defined]
    elif kind == "constant":
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[attr-defined]
    else:
        node.value = ast.Constant(None)  # type: ignore[attr-defined]
    after = ast.unparse(node)
    return ast.unparse(ast.fix_missing_locations(tree)), node.lineno, before, after  # type: ignore[attr-defined]


def statement_lines(tree: ast.Module, node: ast.AST) -> range:
    """The lines of the smallest simple statement, or of the head of the smallest compound one, that holds a node."""
    lines = range(node.lineno, node.lineno + 1)  # type: ignore[attr-defined]
    for statement in ast.walk(tree):
        if isinstance(statement, ast.stmt) and any(inner is node for inner in ast.walk(statement)):
            body = getattr(statement, "body", None)
            end = body[0].lineno - 1 if body else statement.end_lineno
            lines = range(statement.lineno, max(end or 0, statement.lineno) + 1)
            if body and node.lineno not in lines:  # type: ignore[attr-defined]
                lines = range(node.lineno, node.lineno + 1)  # type: ignore[attr-defined]
    return lines


def all_places(only: str) -> list[tuple[Path, ast.Module, int]]:
    """Every place of the core that can be changed."""
    found = []
    for folder in CORE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in LEFT_OUT and only in str(path.relative_to(ROOT)):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found += [(path, tree, number) for number in range(len(list(places(tree))))]
    return found


def survivors_in(text: str) -> list[tuple[Path, ast.Module, int]]:
    """The places of changes that a run's output names as survivors, wherever their lines are now."""
    found = []
    listed = [line.split(" tests  ", 1)[1] for line in text.splitlines() if line.startswith("SURVIVED")]
    for line in listed:
        place, _, change = line.partition(": ")
        path = ROOT / place.rsplit(":", 1)[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wanted = int(place.rsplit(":", 1)[1])
        same = [n for n, (node, _) in enumerate(places(tree)) if ast.unparse(node) == change.split("   ->   ")[0]]
        same = [n for n in same if "   ->   ".join(changed(tree, n)[2:]) == change]
        if same:
            found.append((path, tree, min(same, key=lambda n: abs(changed(tree, n)[1] - wanted))))
    return found


# What follows up to `record` runs inside pytest, which loads this file as a plugin.

_seconds: dict[str, float] = {}


def pytest_runtest_protocol(item: Any) -> None:
    import coverage

    running = coverage.Coverage.current()
    if running is not None:
        running.switch_context(item.nodeid)


def pytest_runtest_logreport(report: Any) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        _seconds[report.nodeid] = float("inf")


def pytest_sessionfinish() -> None:
    if "MUTANTS_SECONDS" in os.environ:
        Path(os.environ["MUTANTS_SECONDS"]).write_text(json.dumps(_seconds), encoding="utf-8")


def run_pytest(folder: Path, before: list[str], arguments: list[str], timeout: float, **more: str) -> int:
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not gpu", *arguments]
    path = os.pathsep.join([str(folder), str(folder / "tests"), os.environ.get("PYTHONPATH", "")])
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **one_thread, **more, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *before, "-m", "pytest", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=timeout, check=False).returncode


class Reached:
    """Which tests reach which lines, and how long each test takes."""

    def __init__(self, folders: list[Path]) -> None:
        import coverage

        (folders[0] / ".coveragerc").write_text("[run]\nsource = factorgraph, nets\n", encoding="utf-8")
        for folder in folders[1:]:
            shutil.copy(folders[0] / ".coveragerc", folder)
        files = sorted(path for kind in ("factorgraph", "nets") for path in (ROOT / "tests" / kind).glob("test_*.py"))
        files.sort(key=lambda path: -path.stat().st_size)

        def record(number: int) -> None:
            mine = [str(path.relative_to(ROOT)) for path in files[number :: len(folders)]]
            seconds = {"MUTANTS_SECONDS": str(folders[number] / "seconds.json")}
            run_pytest(folders[number], ["-m", "coverage", "run"], ["-p", "mutants", *mine], 7200, **seconds)

        with ThreadPoolExecutor(len(folders)) as pool:
            list(pool.map(record, range(len(folders))))
        self.tests: dict[tuple[str, int], set[str]] = {}
        self.seconds: dict[str, float] = {}
        for folder in folders:
            self.seconds.update(json.loads((folder / "seconds.json").read_text(encoding="utf-8")))
            data = coverage.CoverageData(str(folder / ".coverage"))
            data.read()
            for name in data.measured_files():
                for line, contexts in data.contexts_by_lineno(name).items():
                    key = (str(Path(name).relative_to(folder)), line)
                    self.tests.setdefault(key, set()).update(context for context in contexts if context)

    def of(self, place: Path, lines: range, limit: float) -> list[str]:
        """
        Tests that reach some of the lines: the quickest for a third of the time, then others by chance.

        What runs only when a file is imported is reached by all tests that reach anything in the file.
        """
        found = set().union(*(self.tests.get((str(place), line), set()) for line in lines))
        if not found:
            found = set().union(*(tests for (name, _), tests in self.tests.items() if name == str(place)))
        known = sorted((test for test in found if self.seconds[test] < limit), key=lambda test: (self.seconds[test], test))
        chosen: list[str] = []
        left = limit
        while known and left > 0:
            test = known.pop(0)
            chosen.append(test)
            left -= self.seconds[test]
            if 2 * limit / 3 > left > 2 * limit / 3 - self.seconds[test]:
                random.Random(0).shuffle(known)
        return chosen


def passes(folder: Path, tests: list[str], limit: float) -> bool:
    """Whether the tests pass in a copy of the project; one that does not end has noticed."""
    listed = folder / "tests.txt"
    listed.write_text("\n".join(tests), encoding="utf-8")
    try:
        return run_pytest(folder, [], ["-x", f"@{listed}"], 5 * limit + 60) == 0
    except subprocess.TimeoutExpired:
        return False


def copy_project(folder: Path) -> Path:
    for part in ("factorgraph", "nets", "tests", "examples", "benchmarks", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose paths have this text")
    parser.add_argument("--processes", type=int, default=2, help="changes tried at once, each in a copy of its own")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no change is begun after this time")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of tests for each change")
    parser.add_argument("--again", type=Path, help="output of an earlier run, whose survivors are tried")
    options = parser.parse_args()
    chosen = all_places(options.only) if options.again is None else survivors_in(options.again.read_text(encoding="utf-8"))
    if options.again is None:
        random.Random(options.seed).shuffle(chosen)
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.processes) as pool:
        copies = [copy_project(Path(name) / str(number)) for number in range(options.processes)]
        reached = Reached(copies)
        failed = [test for test, seconds in reached.seconds.items() if seconds == float("inf")]
        print(f"{len(reached.seconds)} tests, of which {len(failed)} fail before any change and are left out", flush=True)
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for folder in copies:
            folders.put(folder)

        def survives(choice: tuple[Path, ast.Module, int]) -> bool | None:
            path, tree, number = choice
            place = path.relative_to(ROOT)
            if time.monotonic() > end:
                return None
            node, _ = list(places(tree))[number]
            tests = reached.of(place, statement_lines(tree, node), options.limit)
            text, line, before, after = changed(tree, number)
            folder = folders.get()
            try:
                (folder / place).write_text(text, encoding="utf-8")
                survived = not tests or passes(folder, tests, options.limit)
            finally:
                shutil.copy(path, folder / place)
                folders.put(folder)
            what = f"SURVIVED {len(tests)} tests" if survived else "noticed"
            print(f"{what}  {place}:{line}: {before}   ->   {after}", flush=True)
            return survived

        done = [survived for survived in pool.map(survives, chosen[: options.number]) if survived is not None]
    print(f"{sum(done)} of {len(done)} changes were not noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
