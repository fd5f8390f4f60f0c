"""
Changes the core one place at a time and runs the tests that matter: a change that no test notices is printed.

    python tests/mutants.py [--number 100] [--seed 0] [--only TEXT] [--processes 2] [--seconds 600]

Each change turns one comparison, operation, constant or condition into another, in a copy of the project. Some changes mean
nothing (a bound of memory, a threshold of speed): whoever reads the list decides.
"""

from __future__ import annotations

import argparse
import ast
import copy
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

ROOT = Path(__file__).parent.parent
ENGINE, NETS = "tests/factorgraph/test_", "tests/nets/test_"
TESTS = {
    "factorgraph/inference": [
        *(f"{ENGINE}{name}.py" for name in ("states", "inference", "focusing", "observations", "batch", "gaussian", "graph")),
        f"{NETS}recording.py",
        f"{ENGINE}schedules.py",
        f"{ENGINE}trees.py",
        f"{ENGINE}kernels.py",
    ],
    "factorgraph/factors": [
        f"{ENGINE}{name}.py" for name in ("node_types", "many_variable_factors", "loopy_tables", "gaussian", "trees", "kernels")
    ],
    "factorgraph/schedules": [f"{ENGINE}{name}.py" for name in ("schedules", "trees", "inference", "batch")],
    "nets": [
        f"{NETS}{name}.py"
        for name in (
            "perceptron",
            "channels",
            "real_channels",
            "node_types",
            "training",
            "resume",
            "recording",
            "metrics",
            "theory",
        )
    ]
    + [f"{NETS}{name}.py" for name in ("datasets", "cli", "experiments")],
}
LEFT_OUT = {"drawing.py", "figure.py", "published.py", "__init__.py", "memory.py"}
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
        if is_text or (isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "check")):
            skipped |= {id(inner) for inner in ast.walk(node)}
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


def all_places(only: str) -> list[tuple[Path, ast.Module, int]]:
    """Every place of the core that can be changed."""
    found = []
    for folder in TESTS:
        for path in sorted((ROOT / folder).rglob("*.py") if folder != "nets" else (ROOT / folder).glob("*.py")):
            if path.name not in LEFT_OUT and only in str(path.relative_to(ROOT)):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found += [(path, tree, number) for number in range(len(list(places(tree))))]
    return found


def folder_of(place: Path) -> str:
    return next(start for start in TESTS if str(place).startswith(start))


def run_tests(folder: Path, place: Path) -> bool:
    """Whether the tests that matter for a file pass in a copy of the project; those that name it most run first."""
    tests = sorted(TESTS[folder_of(place)], key=lambda test: -(ROOT / test).read_text(encoding="utf-8").count(place.stem))
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-n", "0", "-m", "not gpu"]
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **one_thread, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        return False
    if place.suffix == "" and done.returncode:
        print(done.stdout.decode()[-2000:], file=sys.stderr)
    return done.returncode == 0


def copy_project(folder: Path) -> Path:
    for part in ("factorgraph", "nets", "tests", "examples", "benchmarks"):
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
    options = parser.parse_args()
    chosen = all_places(options.only)
    random.Random(options.seed).shuffle(chosen)
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.processes) as pool:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(options.processes):
            folders.put(copy_project(Path(name) / str(number)))

        def passes_unchanged(start: str) -> bool:
            folder = folders.get()
            try:
                return run_tests(folder, Path(start))
            finally:
                folders.put(folder)

        unchanged = {
            start: pool.submit(passes_unchanged, start) for start in TESTS if any(start in str(path) for path, *_ in chosen)
        }

        def survives(choice: tuple[Path, ast.Module, int]) -> bool | None:
            path, tree, number = choice
            place = path.relative_to(ROOT)
            if time.monotonic() > end or not unchanged[folder_of(place)].result():
                return None
            folder = folders.get()
            text, line, before, after = changed(tree, number)
            try:
                (folder / place).write_text(text, encoding="utf-8")
                survived = run_tests(folder, place)
            finally:
                shutil.copy(path, folder / place)
                folders.put(folder)
            print(f"{'SURVIVED' if survived else 'noticed'}  {place}:{line}: {before}   ->   {after}", flush=True)
            return survived

        done = [survived for survived in pool.map(survives, chosen[: options.number]) if survived is not None]
    broken = [start for start, passes in unchanged.items() if not passes.result()]
    if broken:
        print(f"left out: {', '.join(broken)}, whose tests fail before any change", file=sys.stderr)
    print(f"{sum(done)} of {len(done)} changes were not noticed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
