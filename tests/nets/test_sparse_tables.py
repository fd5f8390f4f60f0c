"""Tables most of whose entries are zero: the same as dense ones, a part at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import nets.encoding
from nets import BPClassifier, BPRegressor

ENCODINGS = ["standardize", "each-feature", "thermometer", "auto"]


def table(rows: int = 300, features: int = 23) -> tuple[np.ndarray, np.ndarray]:
    """Counts of words, and one of three topics: each has words of its own."""
    rng = np.random.default_rng(0)
    topics = rng.integers(0, 3, rows)
    rates = np.where(np.arange(features) % 3 == topics[:, None], 0.8, 0.1)
    X = rng.poisson(rates).astype(float)
    X[:, 1] *= 1000.0
    X[:, 2] = 0.0
    return X, topics


@pytest.fixture(params=[1 << 26, 1 << 12], ids=["at once", "in parts"])
def dense_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(nets.encoding, "_DENSE_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("layout", [sparse.csr_array, sparse.csc_matrix])
def test_a_classifier_learns_the_same(dense_bytes: int, encoding: str, layout: Any) -> None:
    X, y = table()
    weight = np.arange(300) % 3
    models = [
        BPClassifier((15,), epochs=3, encoding=encoding, random_state=0).fit(
            rows, y, sample_weight=weight, validation_data=held
        )
        for rows, held in ((X, (X[:50], y[:50])), (layout(X), (layout(X[:50]), y[:50])))
    ]
    dense, thin = models
    for before, after in zip(dense.weight_beliefs_, thin.weight_beliefs_, strict=True):
        # One mean and one deviation of all entries are summed in another order.
        np.testing.assert_allclose(after, before, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(thin.predict_proba(layout(X)), dense.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(thin.uncertainty(layout(X), 2)["total"], dense.uncertainty(X, 2)["total"], atol=1e-3)
    assert dense.evaluate(X, y).keys() == thin.evaluate(layout(X), y).keys()
    assert [row["test_error"] for row in dense.history_] == [row["test_error"] for row in thin.history_]
    assert encoding == "standardize" or thin.score(layout(X), y) > 0.8  # one scale for all suits no column but one


def test_parts_and_numbers(dense_bytes: int) -> None:
    X, topics = table()
    y = topics + X[:, 0]
    found = []
    for rows in (X, sparse.csr_array(X)):
        regressor = BPRegressor((15,), epochs=3, early_stopping=True, random_state=0).fit(rows, y)
        classifier = (
            BPClassifier((15,), random_state=0).partial_fit(rows[:150], topics[:150]).partial_fit(rows[150:], topics[150:])
        )
        found.append([regressor.predict(rows), regressor.uncertainty(rows)["epistemic"], classifier.predict_proba(rows)])
    for dense, thin in zip(*found, strict=True):
        np.testing.assert_allclose(thin, dense, atol=1e-4)


def test_a_run_goes_on_with_the_same_sparse_rows_alone(tmp_path: Path, dense_bytes: int) -> None:
    X, y = sparse.csr_array(table()[0]), table()[1]
    whole = BPClassifier((15,), epochs=4, random_state=0).fit(X, y)
    BPClassifier((15,), epochs=4, random_state=0).fit(X, y, on_epoch=lambda model: model.n_iter_ == 2).save(
        tmp_path / "half.npz"
    )
    half = BPClassifier.load(tmp_path / "half.npz")
    with pytest.raises(ValueError, match="other data"):
        BPClassifier.load(tmp_path / "half.npz").fit(2 * X, y, resume=True)
    half.fit(X, y, resume=True)
    for before, after in zip(whole.weight_beliefs_, half.weight_beliefs_, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_table_that_is_too_wide_to_be_dense_is_learnt() -> None:
    """3,000 rows of 20,000 words would take 480 MB; weights of 5 units take 0.4 MB an array."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    words = rng.integers(0, 100, (3000, 60)) * 2 + np.where(rng.random((3000, 60)) < 0.7, y[:, None], 1 - y[:, None])
    words[:, ::2] = rng.integers(0, 20_000, (3000, 30))
    X = sparse.csr_array((np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 60)), shape=(3000, 20_000))
    tracemalloc.start()
    model = BPClassifier((5,), epochs=2, encoding="standardize", random_state=0).fit(X[:2500], y[:2500])
    error = 1 - model.score(X[2500:], y[2500:])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error < 0.1
    assert most < 450e6  # in all: less than the table alone would


def test_a_word_that_is_not_finite_is_refused() -> None:
    X, y = table()
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        BPClassifier().fit(sparse.csr_array(X), y)


def test_one_mean_and_one_deviation_are_those_of_all_entries() -> None:
    X, _ = table()
    dense, thin = (nets.encoding.Standardization.of(rows) for rows in (X + 3.0 * (X > 0), sparse.csr_array(X + 3.0 * (X > 0))))
    assert thin.mean == pytest.approx(dense.mean, rel=1e-12)
    assert thin.deviation == pytest.approx(dense.deviation, rel=1e-12)
