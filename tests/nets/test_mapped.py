"""Tables in mapped files: the same as in memory, a part at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import nets.encoding
import nets.mapped
from nets import BPClassifier, BPRegressor, load_dataset
from nets.cli import main
from nets.datasets import DatasetError
from nets.mapped import MappedRows


def mapped(path: Path, array: np.ndarray) -> np.ndarray:
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.fixture(params=[1 << 24, 1 << 13], ids=["at once", "in parts"])
def part_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(nets.mapped, "_PART_BYTES", request.param)
    monkeypatch.setattr(nets.encoding, "_DENSE_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("encoding", ["standardize", "each-feature", "thermometer", "auto"])
def test_a_classifier_learns_the_same(tmp_path: Path, part_bytes: int, encoding: str) -> None:
    data = load_dataset("digits")
    X, y = data.X_train[:300].astype(np.float32), data.y_train[:300]
    files = mapped(tmp_path / "X.npy", X)
    settings = {"epochs": 3, "encoding": encoding, "random_state": 0, "early_stopping": encoding == "auto"}
    models = [
        BPClassifier((15,), **settings).fit(
            rows, y, sample_weight=np.arange(300) % 3, validation_data=None if encoding == "auto" else (rows, y)
        )
        for rows in (X, files)
    ]
    for before, after in zip(*(model.weight_beliefs_ for model in models), strict=True):
        np.testing.assert_allclose(after, before, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(models[1].predict_proba(files), models[0].predict_proba(X), atol=1e-4)
    assert models[1].evaluate(files, y) == pytest.approx(models[0].evaluate(X, y), rel=1e-3)


def test_numbers_and_parts(tmp_path: Path, part_bytes: int) -> None:
    data = load_dataset("digits")
    X, y = data.X_train[:200], data.X_train[:200, :2] + 1.0
    files = mapped(tmp_path / "X.npy", X)
    found = []
    for rows in (X, files):
        regressor = BPRegressor((15,), epochs=2, random_state=0).fit(rows, y)
        classifier = BPClassifier((15,), random_state=0)
        for part in (slice(0, 100), slice(100, 200)):
            classifier.partial_fit(rows[part], data.y_train[part], classes=np.arange(10))
        found.append([regressor.predict(rows), classifier.predict_proba(rows)])
    for dense, read in zip(*found, strict=True):
        np.testing.assert_allclose(read, dense, atol=1e-4)


def test_a_run_goes_on_with_the_same_file_alone(tmp_path: Path, part_bytes: int) -> None:
    data = load_dataset("digits")
    X, y = mapped(tmp_path / "X.npy", data.X_train[:200]), data.y_train[:200]
    whole = BPClassifier((15,), epochs=4, random_state=0).fit(X, y)
    BPClassifier((15,), epochs=4, random_state=0).fit(X, y, on_epoch=lambda model: model.n_iter_ == 2).save(
        tmp_path / "half.npz"
    )
    half = BPClassifier.load(tmp_path / "half.npz").fit(X, y, resume=True)
    for before, after in zip(whole.weight_beliefs_, half.weight_beliefs_, strict=True):
        np.testing.assert_array_equal(before, after)
    other = mapped(tmp_path / "other.npy", 2.0 * data.X_train[:200])
    with pytest.raises(ValueError, match="other data"):
        BPClassifier.load(tmp_path / "half.npz").fit(other, y, resume=True)


def test_rows_are_read_where_they_are_needed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype=np.float32, shape=(40_000, 400))
    for start in range(0, 40_000, 4_000):
        array[start : start + 4_000] = rng.normal(size=(4_000, 400))
    X, y = np.load(tmp_path / "X.npy", mmap_mode="r"), rng.integers(2, size=40_000)
    model = BPClassifier((5,), epochs=1, encoding="standardize", random_state=0)
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000 * 400 * 8 / 1.5  # the file is half of that; a copy in double precision would be all


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    X, y = np.ones((20, 3)), np.arange(20) % 2
    model = BPClassifier((5,), epochs=1)
    with pytest.raises(ValueError, match="must be \\(n, features\\) numbers, not float64 of shape \\(20,\\)"):
        model.fit(mapped(tmp_path / "flat.npy", X[:, 0]), y)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.fit(mapped(tmp_path / "nan.npy", np.where(np.eye(20, 3) > 0, np.nan, X)), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(mapped(tmp_path / "X.npy", X), y[:10])
    fitted = model.fit(mapped(tmp_path / "X.npy", X), y)
    with pytest.raises(ValueError, match="features"):
        fitted.predict(mapped(tmp_path / "wide.npy", np.ones((20, 4))))


def test_rows_of_rows(tmp_path: Path, part_bytes: int) -> None:
    array = np.arange(60.0).reshape(20, 3)
    rows = MappedRows(mapped(tmp_path / "X.npy", array.astype(np.int32)))
    some, mask = np.array([5, 1, 9, 9]), np.arange(20) % 3 == 0
    np.testing.assert_array_equal(rows[some].toarray(), array[some])
    np.testing.assert_array_equal(rows[mask][1:4].toarray(), array[mask][1:4])
    np.testing.assert_array_equal(rows[2:2].toarray(), array[2:2])
    np.testing.assert_array_equal(np.concatenate(list(rows[mask].columns()), axis=1), array[mask])
    np.testing.assert_array_equal(rows.min(axis=0), array.min(axis=0))
    np.testing.assert_array_equal(rows.max(axis=0), array.max(axis=0))
    np.testing.assert_allclose(rows.moments(), [array.mean(), array.std()])


def test_a_folder_of_arrays_is_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, folder = load_dataset("digits"), tmp_path / "mine"
    folder.mkdir()
    for name in ("X_train", "y_train", "X_test", "y_test"):
        np.save(folder / f"{name}.npy", getattr(data, name))
    assert isinstance(load_dataset(str(folder)).X_train, np.memmap)
    told = []
    for name in ("digits", str(folder)):
        assert main(["train", name, "--hidden", "11", "--epochs", "2"]) == 0
        told.append(capsys.readouterr().out.splitlines())
    assert [line.rsplit(maxsplit=1)[0] for line in told[0][2:4]] == [line.rsplit(maxsplit=1)[0] for line in told[1][2:4]]
    (folder / "y_train.npy").unlink()
    with pytest.raises(DatasetError, match="X_train needs a y_train"):
        load_dataset(str(folder))
    (folder / "y_train.npy").write_bytes(b"no array")
    with pytest.raises(DatasetError, match="mine"):
        load_dataset(str(folder))
