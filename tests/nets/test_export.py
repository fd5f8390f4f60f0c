"""Networks for use elsewhere: packed bits, ONNX, drawn from the beliefs, and files without the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

from nets import BPClassifier, bits, load_dataset
from nets.settings import weight_type

DIGITS = load_dataset("digits")
WINE = load_wine(return_X_y=True)
CASES: dict[str, tuple[tuple[Any, Any], dict[str, Any]]] = {
    "images": ((DIGITS.X_train, DIGITS.y_train), {"hidden_layer_sizes": (51, 31)}),
    "tables, biases": (WINE, {"hidden_layer_sizes": (21,)}),
    "texts": ((WINE[0], np.array(["red", "white", "rosé"])[WINE[1]]), {"hidden_layer_sizes": (15, 17), "dtype": "float64"}),
    "thermometer": (WINE, {"hidden_layer_sizes": (21,), "encoding": "thermometer"}),
    "constant columns": (
        (np.column_stack([WINE[0], np.full(178, 5.0), np.zeros(178)]), WINE[1]),
        {"hidden_layer_sizes": (21,)},
    ),
    "two classes": (load_breast_cancer(return_X_y=True), {"hidden_layer_sizes": (33,)}),
    "sparse": ((DIGITS.X_train, DIGITS.y_train), {"hidden_layer_sizes": (51,), "density": 0.3, "biases": True}),
    "ternary": (WINE, {"hidden_layer_sizes": (21, 15), "weights": "ternary"}),
    "large weights": (WINE, {"hidden_layer_sizes": (33,), "weights": [-130, -40, 40, 131]}),
    "no hidden layer": ((DIGITS.X_train, DIGITS.y_train + 0.0), {"hidden_layer_sizes": ()}),
}


def fitted(case: str) -> tuple[BPClassifier, np.ndarray]:
    (X, y), settings = CASES[case]
    return BPClassifier(epochs=3, prediction="point", random_state=0, **settings).fit(X, y), X


def decided(model: BPClassifier, X: np.ndarray) -> np.ndarray:
    """Rows in which no unit's sum and no two outputs are equal, which the format decides in a way of its own."""
    sides = np.sort(model.predict_proba(X), axis=1)
    return (sides[:, -1] > 1 - 1e-6) & (sides[:, -2] < 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_exported_networks_give_the_same_labels(tmp_path: Path, case: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, X = fitted(case)
    expected, clear = model.predict(X), decided(model, X)
    assert clear.mean() > 0.75
    model.export(tmp_path / "net.npz")
    found = bits.predict(str(tmp_path / "net.npz"), X, rows=100)
    assert found.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(found[clear], expected[clear])
    model.export(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (label,) = session.run(["label"], {"X": X})
    np.testing.assert_array_equal(label.astype(found.dtype), found)


def test_a_weight_is_a_bit(tmp_path: Path) -> None:
    model = BPClassifier((200, 200), epochs=1, random_state=0).fit(DIGITS.X_train, DIGITS.y_train)
    model.export(tmp_path / "net.npz")
    weights = sum(belief.size for belief in model.weight_beliefs_)
    assert (tmp_path / "net.npz").stat().st_size < 2 * weights / 8 + 10_000  # which there are is another bit


def test_the_reader_needs_numpy_alone(tmp_path: Path) -> None:
    model, X = fitted("tables, biases")
    model.export(tmp_path / "net.npz")
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "reader.py").write_text(Path(bits.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        "import sys, numpy as np, reader; y = reader.predict('net.npz', np.load('X.npy')); print(len(y));"
        "assert not {'nets', 'factorgraph', 'scipy', 'sklearn'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(len(X))


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"weights": [-0.5, 0.5]}, "net.npz", r"export needs weights that are whole numbers .* not \[-0.5, 0.5\]"),
        ({"weights": [-300, 300]}, "net.npz", "export needs weights that are whole numbers below 256"),
        ({"weights": "real"}, "net.npz", "export needs weights that are whole numbers .* not 'real'"),
        ({"activation": "relu"}, "net.onnx", "export needs weights .* and activation='sign', not 'binary' and 'relu'"),
        ({}, "net.pt", "files that end in .npz or .onnx"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, settings: dict[str, Any], name: str, message: str) -> None:
    model = BPClassifier((11,), epochs=1, random_state=0, **settings).fit(*WINE)
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", ["binary", "ternary", "real"])
def test_drawn_networks_have_the_beliefs_of_the_model(weights: str) -> None:
    model = BPClassifier((11,), epochs=1, weights=weights, density=0.6, random_state=0).fit(*WINE)
    n = 4000
    drawn = model.sample(n, random_state=1)
    again = model.sample(n, random_state=1)
    for values, same, mean, belief, mask in zip(
        drawn, again, model.weight_means_, model.weight_beliefs_, model.masks_, strict=True
    ):
        np.testing.assert_array_equal(values, same)
        spread = np.sqrt(belief[1]) if weights == "real" else 1.0
        assert np.abs((values.mean(axis=0) - mean) / spread).max() < 5.5 / n**0.5
        assert mask is not None
        assert (values[:, ~mask] == 0).all()
        if weights != "real":
            assert np.isin(values[:, mask], weight_type(weights).states).all()  # type: ignore[attr-defined]


def test_a_model_without_its_run_predicts_the_same(tmp_path: Path) -> None:
    model = BPClassifier((101,), epochs=2, random_state=0).fit(DIGITS.X_train, DIGITS.y_train)
    model.save(tmp_path / "whole.npz")
    model.save(tmp_path / "lean.npz", state=False)
    lean = BPClassifier.load(tmp_path / "lean.npz")
    np.testing.assert_array_equal(lean.predict_proba(DIGITS.X_test), model.predict_proba(DIGITS.X_test))
    sizes = [(tmp_path / name).stat().st_size for name in ("lean.npz", "whole.npz")]
    assert sizes[0] < 0.4 * sizes[1]
    with pytest.raises(ValueError, match="nothing to continue from"):
        lean.partial_fit(DIGITS.X_train, DIGITS.y_train)
    with pytest.raises(ValueError, match="nothing to resume"):
        lean.fit(DIGITS.X_train, DIGITS.y_train, resume=True)
