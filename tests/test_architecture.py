"""The structure that the design promises, read off the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import factorgraph
import nets
from factorgraph import factors, variables

ENGINE, NETS = Path(factorgraph.__file__).parent, Path(nets.__file__).parent
NODE_TYPES = {
    name
    for module in (variables, factors)
    for name in module.__all__
    if name not in ("VariableType", "Factor", "BlockFactor", "Port", "Quadratic")
}


def trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree: ast.Module) -> set[str]:
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def names_used(tree: ast.Module) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }


@pytest.mark.parametrize("folder", ["inference", "schedules"])
def test_the_engine_names_no_node_type(folder: str) -> None:
    for path, tree in trees(ENGINE / folder):
        strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        found = (names_used(tree) | strings) & NODE_TYPES
        assert not found, f"{path.name} names {found}"


def test_backends_name_no_node_type() -> None:
    """Neither in Python nor in the kernels' texts: no name of theirs, and no word of a name or of a sentence."""
    usual_words = {"And", "Data", "Levels", "Max", "Or", "Switch", "Table", "is_normal"}
    names = {name.lower() for name in NODE_TYPES - usual_words}
    for path in sorted((ENGINE / "backends").rglob("*.*")):
        if path.suffix in (".py", ".cu", ".cuh"):
            tokens = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
            words = {word.lower() for token in tokens for word in (token.replace("_", ""), *re.findall("[A-Z]?[a-z]+", token))}
            found = {word for word in words if word.removesuffix("s") in names}
            assert not found, f"{path.name} names {found}"


def test_nets_names_no_backend() -> None:
    libraries = {"cupy", "cupyx", "array_api_strict", "array_api_compat", "torch", "jax"}
    for path, tree in trees(NETS):
        roots = {module.split(".")[0] for module in imported_modules(tree)}
        assert not roots & libraries, f"{path.name} imports {roots & libraries}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not constants & {"numpy", "cupy"}, f"{path.name}:{node.lineno} chooses by a backend's name"


def test_the_device_code_of_nets_computes_by_its_backend_alone() -> None:
    for name in (*(f"channels/{part}.py" for part in ("sign", "argmax", "real", "tails")), "methods.py", "perceptron.py"):
        tree = ast.parse((NETS / name).read_text(encoding="utf-8"))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        for function in functions:
            arguments = {a.arg for a in function.args.args}
            numpy_calls = [
                ast.unparse(n)
                for n in ast.walk(function)
                if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "np"
            ]
            allowed = {"np.polynomial"}
            if "backend" in arguments:
                assert set(numpy_calls) <= allowed, f"{name}:{function.name} calls {numpy_calls}"


def test_nets_has_no_message_passing_loop_of_its_own() -> None:
    """Messages are updated by `Inference` only: nets sends none, keeps none and asks nothing for its own convergence."""
    forbidden = {
        "cavities",
        "write",
        "refresh",
        "receive",
        "run_once",
        "edge_messages",
        "block_totals",
        "residuals",
        "messages",
    }
    for path, tree in trees(NETS):
        imported = imported_modules(tree)
        inner = {module for module in imported if module.startswith("factorgraph.inference.")}
        assert not inner, f"{path.name} imports {inner}"
        calls = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        found = calls & forbidden
        if path.name in ("datasets.py", "cli.py"):
            found -= {"write"}  # files
        assert not found, f"{path.name} calls {found}"
        updates = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "update"]
        assert not updates, f"{path.name} drives a block factor itself"


@pytest.mark.parametrize(
    ("folder", "may_import"),
    [
        ("backends", {"backends"}),
        ("communication", {"communication"}),
        ("variables", {"variables", "backends", "semiring"}),
        ("factors", {"factors", "variables", "backends", "semiring"}),
        ("schedules", {"schedules", "graph", "blocks"}),
        ("linear", {"linear", "drawing", "inference", "graph", "blocks", "factors", "variables", "backends", "semiring"}),
        (
            "junction",
            {"junction", "drawing", "linear", "inference", "graph", "blocks", "factors", "variables", "backends", "semiring"},
        ),
        ("io", {"io", "files", "graph", "blocks", "factors", "variables", "backends", "semiring"}),
        ("drawing", {"drawing", "io", "files", "graph", "blocks", "variables"}),
        (
            "inference",
            {
                "inference",
                "communication",
                "drawing",
                "files",
                "schedules",
                "graph",
                "blocks",
                "factors",
                "variables",
                "backends",
                "semiring",
            },
        ),
    ],
)
def test_imports_go_one_way(folder: str, may_import: set[str]) -> None:
    for path, tree in trees(ENGINE / folder):
        rooms = {m.split(".")[1] for m in imported_modules(tree) if m.startswith("factorgraph.")}
        assert rooms <= may_import, f"{path.name} imports {rooms - may_import}"


ROOMS = {  # of inference/, each with those that it may import; the files beside them bring all together
    "layout": set(),
    "state": {"layout"},
    "executors": {"state", "layout"},
    "answers": {"state", "layout"},
    "control": {"state", "layout"},
}


def test_the_rooms_of_inference_are_those_that_are_described() -> None:
    folders = {path.name for path in (ENGINE / "inference").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)
    files = {path.stem for path in (ENGINE / "inference").glob("*.py")}
    assert files == {"__init__", "conditions", "inference", "run"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_inference_import_one_way(room: str) -> None:
    for path, tree in trees(ENGINE / "inference" / room):
        inner = [m.split(".") for m in imported_modules(tree) if m.startswith("factorgraph.inference")]
        found = {parts[2] if len(parts) > 2 else "inference" for parts in inner}
        assert found <= {room, *ROOMS[room]}, f"{path.name} imports {found - {room, *ROOMS[room]}}"


def test_no_modules_of_inference_import_each_other_in_a_circle() -> None:
    """Imports for type checkers count too."""
    imports = {}
    for path, tree in trees(ENGINE / "inference"):
        name = ".".join(("factorgraph", *path.relative_to(ENGINE).with_suffix("").parts)).removesuffix(".__init__")
        imports[name] = imported_modules(tree)
    while free := {name for name, needed in imports.items() if not needed & imports.keys()}:
        imports = {name: needed for name, needed in imports.items() if name not in free}
    assert not imports, f"in or behind a circle: {sorted(imports)}"


def test_only_backends_import_device_libraries() -> None:
    for path, tree in trees(ENGINE):
        roots = {module.split(".")[0] for module in imported_modules(tree)}
        if path.parent.name != "backends":
            assert not roots & {"cupy", "cupyx", "array_api_strict"}, path


def test_no_file_is_too_long_to_read() -> None:
    for folder in (ENGINE, NETS):
        for path, _ in trees(folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 420, f"{path} has {lines} lines"
