"""Mutants of `.npz` files, of their bytes and of their members: each is read, and then works, or refused with its name."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets import BPClassifier, DatasetError, load_dataset
from nets.datasets import load_rows
from tests.fuzz.mutations import BYTES, TEXT, mutants, within

X = np.random.default_rng(0).normal(size=(12, 3))


def inference() -> fg.Inference:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    graph.add_factors("pairs", fg.Ising([0.5, 0.2, 0.1]), x[1:], x[:-1])
    graph.set_prior(x, [0.1, 0.2, 0.3, 0.4])
    found = fg.Inference(graph, fg.Flooding())
    found.observe(x[0], 1)
    found.run()
    return found


STATE = inference()


def write_model(path: Path) -> None:
    BPClassifier((2,), epochs=1, random_state=0).fit(X, np.arange(12) % 3).save(path)


def ask_model(path: Path) -> None:
    model = BPClassifier.load(path)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(model.predict(X[:, :1].repeat(model.n_features_in_, axis=1))) == len(X)


def load_state(path: Path) -> None:
    before = STATE.state.belief(STATE.graph.variables("x"))
    try:
        STATE.state.load(path)
    except ValueError:
        np.testing.assert_array_equal(STATE.state.belief(STATE.graph.variables("x")), before)
        raise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        STATE.run(5, keep_messages=True, raise_on_contradiction=False)


KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], tuple[type[Exception], ...]]] = {
    "model": (write_model, ask_model, (ValueError,)),
    "state": (lambda path: inference().state.save(path), load_state, (ValueError,)),
    "data": (lambda path: np.savez(path, X=X, y=np.arange(12) % 2), lambda path: load_dataset(str(path)), (DatasetError,)),
    "rows": (lambda path: np.savez(path, X=X), lambda path: load_rows(str(path)), (DatasetError,)),
}


def changed_members(whole: bytes, cases: int, name: str) -> Iterator[bytes]:
    """Files that are sound but for one member, which is a mutant, missing, or another's."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    rng = random.Random(name)
    for case in range(cases):
        chosen = rng.choice(sorted(members))
        kind: Sequence[Any] = TEXT if rng.random() < 0.5 else BYTES
        other = {**members, chosen: next(iter(mutants([members[chosen]], 1, f"{name}{case}", kind)))}
        if rng.random() < 0.1:
            del other[chosen]
        elif rng.random() < 0.1:
            other[chosen] = members[rng.choice(sorted(members))]
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for member, content in other.items():
                archive.writestr(member, content)
        yield target.getvalue()


@pytest.mark.parametrize("how", ["bytes", "members"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_is_read_and_works_or_is_refused(kind: str, how: str, cases: int, tmp_path: Path) -> None:
    write, read, refusals = KINDS[kind]
    path = tmp_path / "m.npz"
    write(path)
    whole, refused = path.read_bytes(), 0
    for case, data in enumerate(
        mutants([whole], cases, kind, BYTES) if how == "bytes" else changed_members(whole, cases, kind)
    ):
        path.write_bytes(data)
        try:
            with within(5.0):
                read(path)
            told = None
        except refusals as error:
            told = str(error)
        except Exception as error:
            raise AssertionError(f"case {case} of {kind}, {how}, raises {type(error).__name__}: {error}") from error
        refused += told is not None
        assert told is None or str(path) in told, f"case {case} is refused without the file's name: {told}"
    assert refused > 0.2 * cases
