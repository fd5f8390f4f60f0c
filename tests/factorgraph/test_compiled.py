"""Kernels on the CPU as users run them: vector instructions, several threads, compiled once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.backends import compiled_backend
from factorgraph.factors.spin_products import spin_products
from factorgraph.testing import check_factor

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")

FUNCTIONS = {"exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh}


@pytest.fixture
def optimised(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Kernels are compiled as for users, not as quickly as for other tests."""
    monkeypatch.delenv("FACTORGRAPH_KERNEL_FLAGS", raising=False)
    compiled_backend.load.cache_clear()
    yield
    compiled_backend.load.cache_clear()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_elementary_functions_are_within_three_units_in_the_last_place(optimised: None, dtype: str) -> None:
    """In vector instructions, and in the rest of a length that they do not divide."""
    numbers = [np.linspace(-800, 800, 40_001), np.linspace(-2, 2, 20_001), np.logspace(-320, 308, 20_001)]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 1e-310, -1e-310, 709.7, -745.0, 88.7, -103.9]
    with np.errstate(all="ignore"):
        x = np.concatenate([*numbers, -numbers[2], special]).astype(dtype)
    results = ", ".join(f"T &by_{name}" for name in FUNCTIONS)
    lines = " ".join(f"by_{name} = {name}(x);" for name in FUNCTIONS)
    found = fg.get_backend("compiled", dtype).map(f"DEVICE void all(T x, {results}) {{ {lines} }}", "all", x)
    with np.errstate(all="ignore"):
        for (name, function), mine in zip(FUNCTIONS.items(), found, strict=True):
            exact = function(x.astype(np.longdouble))
            rounded = exact.astype(dtype)
            same = (mine == rounded) | (np.isnan(mine) & np.isnan(rounded))
            units = np.abs(mine - exact) / np.spacing(np.abs(rounded))
            assert (same | (units <= 3)).all(), (name, x[~same & ~(units <= 3)])


def graphs() -> dict[str, fg.FactorGraph]:
    """One for each quick body: random potentials, and such that the quick one does not hold for some of the factors."""
    rng = np.random.default_rng(3)
    found = {}
    for name in ("checks", "tables", "potts", "clauses"):
        graph = fg.FactorGraph()
        spins, states = graph.add_variables("spins", fg.Spin(), 200), graph.add_variables("states", fg.Categorical(3), 200)
        triples = np.array([rng.choice(200, 3, replace=False) for _ in range(150)])
        steep = np.where(np.arange(200) < 20, 300.0, 1.0)
        if name == "checks":
            graph.add_factors("checks", fg.Parity(), spins[triples])
        elif name == "tables":
            graph.add_factors("pairs", fg.Table(rng.normal(size=(150, 3, 3))), states[triples[:, 0]], states[triples[:, 1]])
            graph.add_factors("mixed", fg.Table(rng.normal(size=(3, 2))), states, spins)
        elif name == "potts":
            graph.add_factors("pairs", fg.Potts(rng.normal(size=150)), states[triples[:, 0]], states[triples[:, 1]])
        else:
            graph.add_factors("clauses", fg.Or(rng.choice([-1, 1], size=(150, 3))), spins[triples])
        graph.set_prior(spins, steep * rng.normal(size=200))
        graph.set_prior(states, steep[:, None] * rng.normal(size=(200, 3)))
        found[name] = graph
    return found


@pytest.mark.parametrize(
    ("name", "batch"),
    [*((name, None) for name in ("checks", "tables", "potts", "clauses")), ("tables", 5), ("potts", 64)],
)
def test_vector_instructions_give_what_numpy_gives(optimised: None, name: str, batch: int | None) -> None:
    graph = graphs()[name]
    answers = []
    for backend in ("numpy", "compiled"):
        inference = fg.Inference(graph, fg.Flooding(), backend=backend, damping=0.2, batch=batch)
        for number in range(min(batch or 0, 9)):
            inference.set_prior(graph.variables("spins")[: 20 * number], 0.5, sets=number)
        result = inference.run(15, tolerance=0)
        answers.append([result.belief(x) for x in (graph.variables("spins"), graph.variables("states"))])
    assert inference.state.fused
    for mine, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [None, 3])
def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch, batch: int | None) -> None:
    graph = graphs()["tables"]
    answers = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setattr(compiled_backend, "_LEAST_SHARE", 32)
        inference = fg.Inference(graph, fg.Flooding(), backend="compiled", batch=batch)
        result = inference.run(10, tolerance=0)
        answers.append([result.belief(x) for x in (graph.variables("spins"), graph.variables("states"))])
        fields = np.random.default_rng(0).normal(size=1000)
        answers[-1] += list(inference.backend.elementwise(spin_products, fields, fields[::-1].copy(), None))
    for mine, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(mine, theirs)


EVERY = """
const T a = in[0], b = coupling[0];
T c = a + b; c /= (T)2; c *= (T)2; c -= a; c += a;
const T wide = sqrt(c * c) + exp(-fabs(c)) + expm1(log(fabs(c) + (T)1)) + log1p(tanh(fabs(c))) + quick_exp(quick_log((T)2));
const T signs = select(is_finite(c) & (c != b) & !(c == a), sign_of(c), (T)0) + select((c >= b) | (c <= b), (T)1, (T)0);
out[0] = quick_ratio(wide, (T)3) + smaller(signs, larger(a, b));
out[1] = (T)0;
"""


def test_a_quick_body_has_the_operations_of_a_careful_one(optimised: None) -> None:
    """The same text on several factors at once and on one alone."""

    class Every(fg.Ising):
        ending = ""

        def device_messages(self, types: Any, widths: Any, mode: str) -> Any:
            return EVERY + self.ending, EVERY

    answers = []
    for Every.ending in ("holds = a == a;", "holds = a != a;"):  # always, and never
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 301)
        graph.add_factors("pairs", Every(np.linspace(-1, 1, 300)), x[:-1], x[1:])
        graph.set_prior(x, np.random.default_rng(0).normal(size=301))
        answers.append(fg.run(graph, fg.Flooding(), backend="compiled", max_iterations=1, tolerance=0).belief(x))
    np.testing.assert_allclose(*answers, rtol=1e-12)


def _means(_: int) -> np.ndarray:
    graph = graphs()["checks"]
    result = fg.run(graph, fg.Flooding(), backend="compiled", max_iterations=3, tolerance=0)
    return result.mean(graph.variables("spins"))


@pytest.mark.filterwarnings("ignore")
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(compiled_backend, "_LEAST_SHARE", 32)
    here = _means(0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.map_async(_means, [0]).get(timeout=60)[0], here)


def test_a_kernel_is_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORGRAPH_KERNELS", str(tmp_path / "kept"))
    compiled_backend.load.cache_clear()
    backend = fg.get_backend("compiled", "float64")
    source = "DEVICE void twice(T x, T &y) { y = x + x; }"
    np.testing.assert_array_equal(backend.map(source, "twice", np.ones(3))[0], 2.0)
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".so"]  # nothing half written beside it
    compiled_backend.load.cache_clear()
    monkeypatch.setattr(compiled_backend, "_compiled", lambda *_: pytest.fail("compiled again"))
    np.testing.assert_array_equal(backend.map(source, "twice", np.ones(3))[0], 2.0)


def test_a_damaged_kernel_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTORGRAPH_KERNELS", ".")  # a name without a slash, too
    source = "DEVICE void halve(T x, T &y) { y = x / 2; }"
    for _ in range(2):
        compiled_backend.load.cache_clear()
        assert fg.get_backend("compiled").map(source, "halve", np.ones(3))[0].tolist() == [0.5] * 3
        for path in tmp_path.glob("*.so"):
            path.unlink()  # a copy of its own is loaded still
            path.write_bytes(b"")


def test_a_file_in_place_of_the_folder_of_kernels_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FACTORGRAPH_KERNELS", str(tmp_path / "file"))
    compiled_backend.load.cache_clear()
    with pytest.raises(fg.BackendUnavailableError, match=r"FACTORGRAPH_KERNELS=.*no folder that can be written"):
        fg.get_backend("compiled").map("DEVICE void same(T x, T &y) { y = x; }", "same", np.ones(3))


def test_an_interrupt_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No share of a launch runs on after it, and none that was begun changes what comes later."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(compiled_backend, "_LEAST_SHARE", 4096)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 60_000)
    graph.add_factors("chain", fg.Ising(0.3), x[:-1], x[1:])
    graph.set_prior(x, np.random.default_rng(0).normal(size=60_000))
    small = graphs()["tables"]

    def run(graph: fg.FactorGraph, iterations: int) -> np.ndarray:
        result = fg.run(graph, fg.Flooding(), backend="compiled", max_iterations=iterations, tolerance=0)
        return result.belief(graph.variables("x" if graph is not small else "spins"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.ConvergenceWarning)
        expected = run(graph, 3), run(small, 3)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for number in range(6):
                signal.setitimer(signal.ITIMER_REAL, 0.05 + 0.013 * number)
                with pytest.raises(KeyboardInterrupt):
                    run(graph, 1_000_000)
                np.testing.assert_array_equal(run(small, 3), expected[1])
                np.testing.assert_array_equal(run(graph, 3), expected[0])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_a_run_when_the_main_thread_has_ended() -> None:
    script = """
import threading, time, numpy as np, factorgraph as fg
from factorgraph.backends import compiled_backend
compiled_backend._LEAST_SHARE = 32
graph = fg.FactorGraph()
x = graph.add_variables("x", fg.Spin(), 200)
graph.add_factors("chain", fg.Ising(0.3), x[:-1], x[1:])
def late():
    threading.main_thread().join()
    print(fg.run(graph, fg.Flooding(), backend="compiled").status)
threading.Thread(target=late).start()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert done.stdout.strip() == "converged", done.stderr


def test_without_a_folder_that_can_be_written_kernels_are_kept_by_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACTORGRAPH_KERNELS", raising=False)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compiled_backend.load.cache_clear()
    found = fg.get_backend("compiled").map("DEVICE void thrice(T x, T &y) { y = 3 * x; }", "thrice", np.ones(3))
    np.testing.assert_array_equal(found[0], 3.0)


def test_a_kernel_that_does_not_compile_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"a kernel does not compile(.|\n)*kernel.cpp(.|\n)*nothing_of_this_name"):
        fg.get_backend("compiled").map("DEVICE void bad(T x, T &y) { y = nothing_of_this_name(x); }", "bad", np.ones(3))


@pytest.mark.parametrize("width", [300, 1000])
def test_checks_of_very_many_bits(width: int) -> None:
    graph = fg.FactorGraph()
    bits = graph.add_variables("bits", fg.Spin(), width)
    graph.add_factors("check", fg.Parity(), bits[None])
    graph.set_prior(bits, np.random.default_rng(0).normal(size=width) + 4.0)
    answers = [fg.run(graph, backend=backend).belief(bits) for backend in ("numpy", "compiled")]
    np.testing.assert_allclose(*answers, rtol=1e-9)


class Agree(fg.Factor):
    """Two spins that like to be equal, in both forms of a kernel."""

    quick = "holds = fabs(in[0]) + fabs(in[1]) < (T)8; {right}"
    careful = "spin_products(in[1], strength[0], (T)-1, out[0]); spin_products(in[0], strength[0], (T)-1, out[1]);"
    device_source = fg.Ising(1.0).device_source
    right = """
    for (int port = 0; port < 2; ++port) {
        const T odds = quick_exp((T)-2 * in[1 - port]), own = quick_exp((T)-2 * strength[0]);
        out[port] = (T)0.5 * quick_log(((T)1 + own * odds) / (own + odds));
    }
    """

    def __init__(self, strength: Any, right: str = right) -> None:
        self.strength, self.right = np.asarray(strength, dtype=np.float64), right

    def parameters(self, types: Any, count: int) -> dict[str, np.ndarray]:
        return {"strength": np.atleast_1d(self.strength)}

    def can_be_hard(self, parameters: Any) -> bool:
        return False

    def log_potential(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return self.strength * x * y

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> list[Any]:
        return fg.Ising(self.strength).messages(incoming, {"coupling": parameters["strength"]}, ports, semiring)

    def device_messages(self, types: Any, widths: Any, mode: str) -> Any:
        if mode == "max":
            return "spin_maxima(in[1], strength[0], out[0]); spin_maxima(in[0], strength[0], out[1]);"
        return self.quick.format(right=self.right), self.careful


def test_an_own_factor_may_give_a_quick_body_and_a_careful_one() -> None:
    check_factor(Agree([0.5, -1.0, 2.0]), fg.Spin(), fg.Spin())
    with pytest.raises(AssertionError, match="with device_messages the belief"):
        check_factor(Agree([0.5, -1.0, 2.0], "out[0] = in[1]; out[1] = in[0];"), fg.Spin(), fg.Spin())
