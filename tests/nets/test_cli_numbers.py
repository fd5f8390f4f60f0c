"""The command line on targets that are numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nets import BPRegressor
from nets.cli import main
from nets.datasets import load_dataset

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and a model of it with its results."""
    folder = tmp_path_factory.mktemp("numbers")
    rows = np.random.default_rng(0).normal(size=(150, 2))
    lines = [f"{x:.4f},{z:.4f},{3 * x - z:.4f},{'up' if x > 0 else 'down'}" for x, z in rows]
    (folder / "table.csv").write_text("\n".join(["x,z,y,way", *lines]), encoding="utf-8")
    (folder / "numbers.csv").write_text("\n".join(line.rpartition(",")[0] for line in ["x,z,y,", *lines]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    arguments = ["train", str(folder / "numbers.csv"), "--target", "y", "--regression", "--hidden", "7", "--epochs", "2"]
    written = ["--save", str(folder / "net.npz"), "--json", str(folder / "run.json"), "--report", str(folder / "run.html")]
    assert main([*arguments, *written]) == 0
    return folder


def test_numbers_are_learnt_reported_evaluated_and_predicted(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    model, table = BPRegressor.load(trained / "net.npz"), str(trained / "numbers.csv")
    run = json.loads((trained / "run.json").read_text())
    assert set(run["final"]) == {"epoch", "train_rmse", "test_rmse", "test_rmse_bayes", "seconds"}
    assert run["config"]["activation"] == ["relu"]
    assert "left_open" not in run["config"]
    assert "Coverage of intervals" in (trained / "run.html").read_text(encoding="utf-8")
    assert main(["evaluate", str(trained / "net.npz"), table, "--target", "y"]) == 0
    assert f"{run['final']['test_rmse_bayes']:.4g}" in capsys.readouterr().out
    assert main(["predict", str(trained / "net.npz"), table, "--std"]) == 0
    found = np.loadtxt(capsys.readouterr().out.splitlines())
    import pandas

    mean, deviation = model.predict(pandas.read_csv(table)[["x", "z"]], return_std=True)
    np.testing.assert_allclose(found, np.stack([mean, deviation], axis=1), rtol=1e-3)
    assert main(["predict", str(trained / "net.npz"), table]) == 0
    np.testing.assert_allclose(np.loadtxt(capsys.readouterr().out.splitlines()), mean, rtol=1e-5)


def test_a_run_on_numbers_goes_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(trained / "numbers.csv"), "--target", "y", "--regression", "--hidden", "7", "--epochs", "3"]
    assert main([*arguments, "--save", str(trained / "net.npz"), "--resume"]) == 0
    assert "after 3 epochs" in capsys.readouterr().out
    assert BPRegressor.load(trained / "net.npz").n_iter_ == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "numbers.csv", "--target", "y", "--regression", "--replicas", "3"], "cannot be combined with --replicas"),
        (["train", "table.csv", "--target", "way", "--regression"], "needs numbers as targets"),
        (["train", "numbers.csv", "--target", "y"], "for numbers, add --regression"),
        (["predict", "net.npz", "numbers.csv", "--proba"], "try --std"),
    ],
)
def test_what_does_not_fit_is_told(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_classifier_has_no_deviations(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert main(["train", "table.csv", "--target", "way", "--hidden", "5", "--epochs", "1", "--save", "way.npz"]) == 0
    assert main(["predict", "way.npz", "table.csv", "--std"]) == 1
    assert "try --proba" in capsys.readouterr().err
    assert len(load_dataset("table.csv", target="way").y_train) == 100
