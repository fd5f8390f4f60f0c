"""States that are copied, saved, loaded and pickled: none shares an array with another, and each goes on alike."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.inference import State
from factorgraph.inference.state import state_file
from factorgraph.inference.state.record import Record
from factorgraph.inference.state.terms import Base
from nets.network import Network

CONSTANT = {"slots", "step", "strength", "pool", "backend", "_expected"}  # the last is worked out anew where it is missing


def network(backend: str = "numpy", weights: fg.VariableType | None = None) -> tuple[Network, fg.Inference]:
    net = Network((8, 5, 1), 6, "bpi", weight_type=weights)
    inference = fg.Inference(
        net.graph, net.training_schedule(), damping=net.damping([0.7, 0.7]), reinforcement={"weights1": 0.1}, backend=backend
    )
    rng = np.random.default_rng(0)
    for block in net.weights:
        inference.set_prior(block, rng.normal(size=(*block.shape, *block.type.param_shape)))
    inference.observe(net.input, rng.normal(size=(8, 6)))
    inference.observe(net.output, rng.choice([-1, 1], size=(1, 6)))
    return net, inference


def loopy(backend: str = "numpy", batch: int | None = None) -> tuple[fg.FactorGraph, fg.Inference]:
    rng = np.random.default_rng(1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (4, 5))
    y = graph.add_variables("y", fg.Categorical(3), 4)
    graph.add_factors("rows", fg.Ising(rng.normal(size=15)), x[1:], x[:-1])
    graph.add_factors("columns", fg.Ising(rng.normal(size=16)), x[:, 1:], x[:, :-1])
    graph.add_factors("mixed", fg.Table(rng.normal(size=(4, 2, 3))), x[0, :4], y)
    graph.set_prior(x, rng.normal(size=(4, 5)))
    return graph, fg.Inference(
        graph, fg.Flooding(), damping=0.2, reinforcement=0.0 if batch else 0.05, batch=batch, backend=backend
    )


def arrays_in(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Every array within a pool's attributes."""
    if isinstance(value, np.ndarray):
        return {path: value}
    inner: Any = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, (list, tuple)):
        inner = dict(enumerate(value))
    elif isinstance(value, Record):
        inner = {name: held for name, held in vars(value).items() if name not in CONSTANT}
    return {key: array for name, held in inner.items() for key, array in arrays_in(held, f"{path}/{name}").items()}


@pytest.mark.parametrize("make", [network, loopy, lambda: network(weights=fg.Levels([-1, 0, 1])), lambda: loopy(batch=3)])
def test_a_copy_shares_no_array_with_its_original(make: Callable[[], tuple[Any, fg.Inference]]) -> None:
    graph, inference = make()
    for _ in range(3):
        inference.step()
    if isinstance(graph, Network):
        inference.posterior_as_prior(graph.weights[0], 0.9)
        inference.focus(graph.weights[0], 3, 0.5)
        inference.step()
    state = inference.state
    twin = state.copy()
    for mine, theirs in zip(state.pools, twin.pools, strict=True):
        mine.check()
        theirs.check()
        own, copied = arrays_in(mine), arrays_in(theirs)
        assert own.keys() == copied.keys()
        for path, array in own.items():
            np.testing.assert_array_equal(array, copied[path])
            for other, held in copied.items():
                assert not np.shares_memory(array, held), (path, other)


VERBS: dict[str, Callable[[fg.Inference, Any, np.random.Generator], Any]] = {
    "step": lambda i, x, rng: i.step(),
    "run": lambda i, x, rng: i.run(4, tolerance=0.0, raise_on_contradiction=False),
    "go on": lambda i, x, rng: i.run(3, tolerance=0.0, keep_messages=True, raise_on_contradiction=False),
    "observe": lambda i, x, rng: i.observe(x[int(rng.integers(4))], 1),
    "unobserve": lambda i, x, rng: i.unobserve(x),
    "prior": lambda i, x, rng: i.set_prior(x[1:3], rng.normal(size=x[1:3].shape)),
    "posterior": lambda i, x, rng: i.posterior_as_prior(x, 0.9),
    "focus": lambda i, x, rng: i.focus(x, 3, 0.4),
    "reset": lambda i, x, rng: i.reset(x),
}


def same(mine: np.ndarray, theirs: np.ndarray, exactly: bool = True) -> None:
    if exactly:
        np.testing.assert_array_equal(mine, theirs)
    else:
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["loopy", "network"])
def test_any_verbs_in_any_order(kind: str, seed: int, tmp_path: Path) -> None:
    """After each verb kernels agree with NumPy; copies, files and pickles go on as the original does, and stay as they are."""
    backends = ["numpy", "compiled"] if shutil.which("g++") else ["numpy"]
    rng = np.random.default_rng(seed)
    made = [loopy(name) if kind == "loopy" else network(name) for name in backends]
    inferences = [inference for _, inference in made]
    blocks = [graph.variables("x") if kind == "loopy" else graph.weights[0] for graph, _ in made]
    kept: list[tuple[Any, np.ndarray]] = []
    for turn in range(12):
        verb, draw = str(rng.choice(list(VERBS))), int(rng.integers(1 << 30))
        if kind == "network" and verb in ("run", "go on", "reset"):
            verb = "step"
        for inference, block in zip(inferences, blocks, strict=True):
            result = VERBS[verb](inference, block, np.random.default_rng(draw))
            if isinstance(result, fg.Result):
                kept.append((result, result.belief(block)))
        for inference in inferences:
            for pool in inference.state.pools:
                pool.check()
        found = [inference.state.copy().belief(block) for inference, block in zip(inferences, blocks, strict=True)]
        for other in found[1:]:
            same(other, found[0], exactly=False)
        if turn % 3 == 0:
            _go_on_alike(inferences[0], kind, blocks[0].name, tmp_path)
        for old, belief in kept:
            same(old.belief(blocks[backends.index(old._state.backend.name)]), belief)


def belief(inference: fg.Inference, name: str, state: Any = None) -> np.ndarray:
    """Of a block by name: pickled graphs have variables of their own."""
    return (state or inference.state).belief(inference.graph.variables(name))


def _go_on_alike(inference: fg.Inference, kind: str, name: str, folder: Path) -> None:
    """A copy, a pickle and a file in a used and in a new inference: one step makes the same of all."""
    inference.state.save(folder / "state.npz")
    used = pickle.loads(pickle.dumps(inference))
    fresh = loopy()[1] if kind == "loopy" else network()[1]
    fresh.state.load(folder / "state.npz")
    used.step()
    used.state.load(folder / "state.npz")
    again = pickle.loads(pickle.dumps(inference))
    before, twin, start = belief(inference, name), inference.state.copy(), inference.state.copy()
    inference.step()
    expected = belief(inference, name)
    if kind == "loopy":  # what block factors remember is not in files
        for other in (used, fresh):
            other.step()
            same(belief(other, name), expected)
    again.step()
    same(belief(again, name), expected)
    same(belief(inference, name, twin), before)
    inference.state = twin
    inference.step()
    same(belief(inference, name), expected)
    inference.state = start


def test_a_state_saved_before_the_first_step_has_its_prior(tmp_path: Path) -> None:
    _, inference = loopy()
    inference.state.save(tmp_path / "state.npz")
    _, other = loopy()
    other.set_prior(other.graph.variables("x"), 0.0)
    other.state.load(tmp_path / "state.npz")
    for each in (inference, other):
        each.step()
    x = inference.graph.variables("x")
    np.testing.assert_array_equal(other.state.belief(x), inference.state.belief(x))


def test_nothing_changes_where_a_file_is_refused(tmp_path: Path) -> None:
    _, inference = loopy()
    inference.run(5, tolerance=0.0)
    x, path = inference.graph.variables("x"), tmp_path / "state.npz"
    inference.state.save(path)
    before = inference.state.belief(x)
    with np.load(path) as file:
        whole = dict(file)
    for name in whole:
        np.savez(
            path,
            **{
                key: value
                for key, value in whole.items()
                if key != name and name in ("meta", "values/0", "prior/0", "observed/1")
            },
        )
        with pytest.raises(ValueError, match=r"state\.npz"):
            inference.state.load(path)
        np.testing.assert_array_equal(inference.state.belief(x), before)


def test_results_stay_as_they_are(tmp_path: Path) -> None:
    """Whatever is done to the state that they were made from: loading, setting it anew, in copies of both."""
    for copied in (False, True):
        _, inference = loopy()
        x = inference.graph.variables("x")
        inference.state.save(tmp_path / "first.npz")
        result = inference.run(5, tolerance=0.0)
        if copied:
            inference, result = copy.deepcopy((inference, result))
        x = inference.graph.variables("x")
        before = result.belief(x)
        inference.state.load(tmp_path / "first.npz")
        np.testing.assert_array_equal(result.belief(x), before)
        result = inference.run(3, tolerance=0.0)
        before = result.belief(x)
        inference.state = inference.state
        inference.run(6, tolerance=0.0)
        np.testing.assert_array_equal(result.belief(x), before)


@pytest.mark.parametrize("make", [network, loopy])
def test_inferences_results_and_graphs_can_be_pickled(make: Callable[[], tuple[Any, fg.Inference]]) -> None:
    graph, inference = make()
    result = inference.run(4, tolerance=0.0)
    blocks = inference.graph.variable_blocks
    for twin in (pickle.loads(pickle.dumps((graph, inference, result))), copy.deepcopy((graph, inference, result))):
        for name in blocks:
            x = inference.graph.variables(name)
            if x.type.can_be_random:
                np.testing.assert_array_equal(twin[2].belief(twin[1].graph.variables(name)), result.belief(x))
        twin[1].step()


def _held(state: State) -> list[tuple[str, Any]]:
    """Every value of every pool, and the numbers of every array."""
    found: list[tuple[str, Any]] = []
    for pool in state.pools:
        for part in pool.parts():
            # What is looked through once and kept says nothing new.
            found += [(name, value) for name, value in vars(part).items() if name not in ("_any_and_all", "_plate_shape")]
    return [(name, value.copy() if isinstance(value, np.ndarray) else value) for name, value in found]


def test_reading_the_properties_of_a_pool_changes_nothing() -> None:
    """Also while its prior is still to follow from the belief."""
    net, inference = network()
    for verb in (inference.step, lambda: inference.posterior_as_prior(net.weights[0], 0.9), inference.step):
        verb()
        before = _held(inference.state)
        for pool in inference.state.pools:
            for part in pool.parts():
                for kind in type(part).__mro__:
                    for name, member in vars(kind).items():
                        if isinstance(member, property) and (name != "possible_values" or pool.evidence.any_observed):
                            getattr(part, name)
        after = _held(inference.state)
        assert [name for name, _ in before] == [name for name, _ in after]
        for (name, was), (_, now) in zip(before, after, strict=True):
            same_value = np.array_equal(was, now) if isinstance(was, np.ndarray) else was is now or was == now
            assert same_value, name


def test_a_prior_that_follows_from_the_belief_is_worked_out_when_asked_for_and_once() -> None:
    net, inference = network()
    inference.step()
    plate = inference.state.plate(net.weights[0])
    inference.posterior_as_prior(net.weights[0], 0.5)
    assert plate.terms.power == 0.5
    expected = 0.5 * plate.belief
    prior = plate.settle_prior()
    np.testing.assert_array_equal(prior, expected)
    assert plate.terms.power is None
    assert plate.settle_prior() is prior


def test_flags_of_older_files_are_read() -> None:
    """They said in two words how the base of beliefs is known, and had other names."""
    inference = loopy()[1]
    pool = inference.state.pools[0]
    older = {"_power": None, "prior_is_finite": True, "hard": False, "may_grow": False, "stale": False}
    for words, base in (((True, True), Base.TO_COME), ((False, True), Base.IN_BELIEF), ((False, False), Base.KNOWN)):
        to_reinforce, in_belief = words
        given = {**older, "_to_reinforce": to_reinforce, "_base_in_belief": in_belief, "mean_is_current": True}
        assert state_file._flags(pool, given)["base"] is base
