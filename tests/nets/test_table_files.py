"""Tables from the shell: a header, labels of any kind, columns by name; and what is wrong with a file, in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

from nets import BPClassifier, DatasetError, load_dataset
from nets.cli import main

pandas = pytest.importorskip("pandas")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame = load_wine(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "red", 1: "white", 2: "rosé"})
    frame.to_csv(tmp_path / "wine.csv", index=False)
    return tmp_path / "wine.csv"


def test_a_table_from_training_to_labels(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, results = str(tmp_path / "net.npz"), str(tmp_path / "run.json")
    common = ["--target", "target"]
    assert main(["train", str(table), *common, "--epochs", "8", "--save", model, "--json", results]) == 0
    assert json.loads(Path(results).read_text())["final"]["test_error_bayes"] < 10
    assert main(["evaluate", model, str(table), *common]) == 0
    capsys.readouterr()
    # Columns in another order, and others beside them.
    frame = pandas.read_csv(table)
    frame[["target", *reversed(frame.columns[:-1])]].assign(note="x").to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", model, str(tmp_path / "new.csv")]) == 0
    labels = capsys.readouterr().out.split()
    assert np.mean(np.array(labels) == frame["target"]) > 0.95
    assert main(["export", model, str(tmp_path / "bits.npz")]) == 0
    assert (tmp_path / "bits.npz").exists()


def test_a_saved_model_knows_its_columns(table: Path, tmp_path: Path) -> None:
    frame = pandas.read_csv(table)
    X, y = frame.drop(columns="target"), frame["target"]
    model = BPClassifier((15,), epochs=2, random_state=0).fit(X, y.to_numpy(dtype=str))
    model.save(tmp_path / "net.npz")
    swapped = X[X.columns[::-1]]
    for one in (model, BPClassifier.load(tmp_path / "net.npz")):
        with pytest.raises(ValueError, match="feature names should match"):
            one.predict(swapped)


def test_texts_of_type_object_are_saved(table: Path, tmp_path: Path) -> None:
    frame = pandas.read_csv(table)
    y = frame["target"].to_numpy(dtype=object)
    model = BPClassifier((15,), epochs=2, random_state=0).fit(frame.drop(columns="target"), y)
    model.save(tmp_path / "net.npz")
    loaded = BPClassifier.load(tmp_path / "net.npz").predict(frame.drop(columns="target"))
    assert loaded.dtype == y.dtype
    np.testing.assert_array_equal(loaded, model.predict(frame.drop(columns="target")))


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        (lambda text: text, None, "Add --target COLUMN, with one of"),
        (lambda text: text, "colour", "no column 'colour'"),
        (lambda text: text.replace("14.23", "much"), "target", r"columns \['alcohol'\] are not numbers .*'much'.*get_dummies"),
        (lambda text: text.replace("14.23", ""), "target", r"values are missing in \{'alcohol': 1\}"),
        (lambda text: text.replace(",red", ",", 1), "target", "1 rows have no value for 'target'"),
        (lambda text: text.splitlines()[0], "target", "a header, but no rows"),
        (lambda text: "", "target", "not a table with a header"),
        (lambda text: text + "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n", "target", "not a table with a header"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(table: Path, change: object, target: str | None, message: str) -> None:
    assert callable(change)
    table.write_text(change(table.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        load_dataset(str(table), target=target)


def test_text_in_another_encoding_is_told(table: Path) -> None:
    table.write_bytes(table.read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(DatasetError, match="save it as UTF-8"):
        load_dataset(str(table), target="target")


def test_missing_columns_are_told(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "net.npz")
    main(["train", str(table), "--target", "target", "--epochs", "1", "--save", model])
    pandas.read_csv(table).drop(columns=["hue"]).to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", model, str(tmp_path / "new.csv")]) == 1
    assert "columns ['hue'] are missing" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("nets ")


def test_blanks_after_commas_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "blanks.csv"
    path.write_text("a, b, kind\n1, 2, red\n3, 4, white\n5, 6, red\n" * 1, encoding="utf-8")
    data = load_dataset(str(path), target="kind")
    assert sorted({*data.y_train.tolist(), *data.y_test.tolist()}) == ["red", "white"]
    assert list(data.features) == ["a", "b"]
