"""Runs that are left and gone on with: bit for bit, or refused in words."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from nets import BPClassifier, load_dataset
from nets import fitting as fitting_module
from nets import settings as settings_module
from nets.cli import main

DATA = load_dataset("digits")


def fit(model: BPClassifier, stop: int | None = None, resume: bool = False, path: Path | None = None) -> BPClassifier:
    def on_epoch(fitted: BPClassifier) -> bool:
        if path is not None:
            fitted.save(path)
        return fitted.n_iter_ == stop

    return model.fit(DATA.X_train, DATA.y_train, (DATA.X_test, DATA.y_test), on_epoch, resume)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "amp", "iterations": 2, "reinforcement": 0.05, "replicas": 3},
        {"early_stopping": True, "n_epochs_no_change": 2},
        {"backend": "array-api-strict", "dtype": "float64", "method": "mf", "replicas": 4},
    ],
    ids=["default", "sweeps", "early stopping", "strict"],
)
@pytest.mark.parametrize("rows", [10_000, 50])
def test_a_resumed_run_equals_one_that_never_stopped(
    tmp_path: Path, settings: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting_module, "MOST_EVALUATED", rows)  # 50: only some of the training rows are evaluated
    settings = {"hidden_layer_sizes": (15, 11), "epochs": 5, "random_state": 3, **settings}
    whole = fit(BPClassifier(**settings))
    path = tmp_path / "run.npz"
    fit(BPClassifier(**settings), stop=2, path=path)
    resumed = fit(BPClassifier.load(path), resume=True)
    assert resumed.n_iter_ == whole.n_iter_
    strip = [[{k: v for k, v in row.items() if k != "seconds"} for row in model.history_] for model in (whole, resumed)]
    assert strip[0] == strip[1]
    for mine, theirs in zip(resumed.weight_means_, whole.weight_means_, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_model_saved_after_its_run_can_go_on_for_more_epochs(tmp_path: Path) -> None:
    model = BPClassifier((11,), epochs=2, random_state=0).fit(DATA.X_train, DATA.y_train)
    model.save(tmp_path / "net.npz")
    longer = BPClassifier.load(tmp_path / "net.npz").set_params(epochs=4)
    longer.fit(DATA.X_train, DATA.y_train, resume=True)
    assert [row["epoch"] for row in longer.history_] == [1, 2, 3, 4]


def test_a_loaded_model_learns_more_rows_as_the_saved_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "MANY_ROWS", 450)  # the first part decides how all are learnt
    model, loaded = BPClassifier((21,), random_state=0), BPClassifier((21,), random_state=0)
    for part in (slice(0, 500), slice(500, 900), slice(900, 1000)):  # of other sizes
        model.partial_fit(DATA.X_train[part], DATA.y_train[part])
        loaded.partial_fit(DATA.X_train[part], DATA.y_train[part]).save(tmp_path / "run.npz")
        loaded = BPClassifier.load(tmp_path / "run.npz")
    for found, expected in zip(loaded.weight_beliefs_, model.weight_beliefs_, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [row["epoch"] for row in loaded.history_] == [1, 2, 3]


@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
def test_copies_go_on_where_they_stood(begin: str) -> None:
    """Bit for bit, each for itself, whether they were pickled or copied."""
    model = BPClassifier((11,), epochs=2, random_state=0)
    getattr(model, begin)(DATA.X_train, DATA.y_train)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for each in (*twins, model):
        each.partial_fit(DATA.X_train[:500], DATA.y_train[:500])
        for found, expected in zip(each.weight_beliefs_, twins[0].weight_beliefs_, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    model = BPClassifier((11,), epochs=2, random_state=0)
    with pytest.raises(NotFittedError, match="nothing to resume"):
        model.fit(DATA.X_train, DATA.y_train, resume=True)
    fit(model, stop=1, path=tmp_path / "run.npz")
    loaded = BPClassifier.load(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="trained on other data"):
        loaded.fit(DATA.X_train[::-1], DATA.y_train[::-1], resume=True)
    loaded.set_params(early_stopping=True, random_state=None)
    with pytest.raises(ValueError, match="needs the random_state"):
        loaded.fit(DATA.X_train, DATA.y_train, resume=True)


def test_the_command_goes_on_after_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "digits", "--hidden", "21", "21", "--epochs", "10", "--seed", "1"]
    assert main([*command, "--save", str(tmp_path / "whole.npz"), "--json", str(tmp_path / "whole.json")]) == 0
    saved = tmp_path / "killed.npz"
    arguments = [*command, "--save", str(saved), "--json", str(tmp_path / "killed.json"), "--resume"]
    process = subprocess.Popen([sys.executable, "-m", "nets.cli", *arguments], stdout=subprocess.PIPE)
    while not saved.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = BPClassifier.load(saved).n_iter_
    assert reached >= 1
    capsys.readouterr()
    assert main(arguments) == 0
    assert f"resuming {saved} after epoch {reached}" in capsys.readouterr().out
    runs = [json.loads((tmp_path / f"{name}.json").read_text())["epochs"] for name in ("whole", "killed")]
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run] for run in runs]
    assert rows[0] == rows[1]
    with np.load(tmp_path / "whole.npz") as whole, np.load(saved) as killed:
        assert set(whole.files) == set(killed.files)
        for name in set(whole.files) - {"meta"}:
            np.testing.assert_array_equal(whole[name], killed[name])


def test_results_that_were_left_an_epoch_behind_are_written_on_resuming(tmp_path: Path) -> None:
    results = tmp_path / "run.json"
    command = [
        "train",
        "digits",
        "--hidden",
        "11",
        "--epochs",
        "2",
        "--save",
        str(tmp_path / "net.npz"),
        "--json",
        str(results),
    ]
    assert main(command) == 0
    results.unlink()  # as where the kill came between the model's file and this one
    assert main([*command, "--resume"]) == 0
    assert [row["epoch"] for row in json.loads(results.read_text())["epochs"]] == [1, 2]


def test_the_command_refuses_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "digits", "--hidden", "11", "--epochs", "1", "--save", str(tmp_path / "net.npz")]
    assert main(command) == 0
    assert main([*command, "--resume", "--damping", "0.5"]) != 0
    assert "a run with other settings: damping None, not 0.5" in capsys.readouterr().err
    assert main([*command[:-2], "--resume"]) != 0
    assert "give that too" in capsys.readouterr().err


def test_other_labels_and_features_are_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), rng.integers(2, size=40)
    BPClassifier((3,), epochs=1, random_state=0).fit(X, y).save(tmp_path / "net.npz")
    model = BPClassifier.load(tmp_path / "net.npz").set_params(epochs=2)
    with pytest.raises(ValueError, match=r"the run to resume has classes \[0, 1\], but y has \[5, 7\]"):
        model.fit(X, 5 + 2 * y, resume=True)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.fit(X[:, :3], y, resume=True)
    assert model.fit(X, y, resume=True).n_iter_ == 2
