"""Published experiments: what is printed, kept and gone on with, on a small data set; and that the definitions make sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nets import BPClassifier, load_dataset
from nets.cli import main
from nets.datasets import hold_out
from nets.experiments import EXPERIMENTS, Case, Experiment, reproduce
from nets.experiments import base as base_module
from nets.experiments import continual as continual_module
from nets.experiments import runner as runner_module
from nets.experiments.base import summary
from nets.experiments.continual import learn_in_turn
from nets.experiments.figure import draw
from nets.experiments.published import flatness_metrics, overlap_metrics, seconds_metrics
from nets.layers import architecture_of
from nets.settings import check_settings, choose_masks

SMALL = Experiment(
    "Small nets on digits",
    "nowhere",
    (
        Case("ten", "digits", {"hidden_layer_sizes": (11,), "method": "bpi"}, False, {"point-wise": (10.0, 0.5)}),
        Case("two", "digits", {"hidden_layer_sizes": (11,), "method": "mf"}, True, {"Bayesian": (5.0, 0.1)}),
    ),
    quick_epochs=2,
    full_epochs=4,
    quick_cases=("ten",),
)


def test_our_figures_stand_beside_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    results = reproduce("small", SMALL, full=True, epochs=3, seeds=[0, 1])
    printed = capsys.readouterr().out
    assert "3 epochs, published after 4" in printed
    found = [results["runs"][f"ten, seed {seed}"]["metrics"]["point-wise"] for seed in (0, 1)]
    mean, deviation = summary(found)
    assert f"{mean:.2f} +- {deviation:.2f} %   published 10.00 +- 0.50   difference {mean - 10:+.2f}" in printed
    data = load_dataset("digits")
    model = BPClassifier((11,), method="bpi", epochs=3, random_state=1).fit(data.X_train, data.y_train)
    assert model.evaluate(data.X_test, data.y_test)["test_error"] == pytest.approx(found[1])
    assert list(reproduce("small", SMALL)["runs"]) == ["ten, seed 0"]


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reproduce("small", SMALL, full=True, seeds=[0])
    path = tmp_path / "runs.json"
    fits: list[int] = []
    original = BPClassifier.fit

    def interrupted(self: BPClassifier, X, y, validation, on_epoch, resume):  # type: ignore[no-untyped-def]
        fits.append(getattr(self, "n_iter_", 0))

        def stop(fitted: BPClassifier) -> None:
            on_epoch(fitted)
            if len(fits) == 2 and fitted.n_iter_ == 1:
                raise KeyboardInterrupt

        return original(self, X, y, validation, stop, resume)

    monkeypatch.setattr(BPClassifier, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce("small", SMALL, full=True, seeds=[0], path=str(path))
    assert list(json.loads(path.read_text())["runs"]) == ["ten, seed 0"]
    resumed = reproduce("small", SMALL, full=True, seeds=[0], path=str(path))
    assert fits == [0, 0, 1]  # the second case from its first epoch on
    for key, run in whole["runs"].items():
        assert resumed["runs"][key]["metrics"] == run["metrics"]
    with pytest.raises(ValueError, match="holds a run of epochs 4, not 2"):
        reproduce("small", SMALL, path=str(path))
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a file of nets reproduce"):
        reproduce("small", SMALL, path=str(path))


def test_settings_are_chosen_on_rows_held_out() -> None:
    data = load_dataset("digits")
    held = hold_out(data, 200)
    assert len(held.X_train) == len(data.X_train) - 200
    rows = {row.tobytes() for row in data.X_test}
    assert not any(row.tobytes() in rows for row in held.X_test)
    together = np.concatenate([held.X_train, held.X_test])
    np.testing.assert_array_equal(np.sort(together.sum(axis=1)), np.sort(data.X_train.sum(axis=1)))
    found = reproduce("small", SMALL, validate=200)["runs"]["ten, seed 0"]["metrics"]["point-wise"]
    model = BPClassifier((11,), method="bpi", epochs=2, random_state=0).fit(held.X_train, held.y_train)
    assert model.evaluate(held.X_test, held.y_test)["test_error"] == pytest.approx(found)
    with pytest.raises(ValueError, match="cannot be held out"):
        hold_out(data, len(data.X_train))


def test_a_model_of_another_protocol_is_not_taken_for_this_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    reproduce("small", SMALL, epochs=1, path=str(path))
    path.unlink()  # as where a run was broken off before its first case was done
    with pytest.raises(ValueError, match="a run with other settings: epochs 1, not 3"):
        reproduce("small", SMALL, epochs=3, path=str(path))


def test_figures_are_drawn(tmp_path: Path) -> None:
    results = reproduce("small", SMALL, full=True, epochs=1, seeds=[0])
    draw(SMALL, results, str(tmp_path / "bars.png"))
    placed = tuple(replace(case, x=float(number), curve=case.label) for number, case in enumerate(SMALL.cases))
    by_number = replace(SMALL, cases=placed, axis="number")
    draw(by_number, results, str(tmp_path / "axis.png"))
    for name in ("bars.png", "axis.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_the_command_repeats_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "bayes", SMALL)
    arguments = ["reproduce", "bayes", "--json", str(tmp_path / "r.json"), "--figure", str(tmp_path / "r.png")]
    assert main(arguments) == 0
    assert "published 10.00" in capsys.readouterr().out
    assert (tmp_path / "r.png").exists()
    monkeypatch.setattr(runner_module, "_run", None)  # all is done: nothing is trained
    assert main(arguments) == 0
    assert main(["reproduce", "bayes", "--json", str(tmp_path / "missing" / "r.json")]) != 0


def test_published_experiments_can_be_made() -> None:
    """Settings that the classifier takes, layer by layer, and labels that tell cases apart."""
    rng = np.random.default_rng(0)
    for name, experiment in EXPERIMENTS.items():
        labels = [case.label for case in experiment.cases]
        assert len(set(labels)) == len(labels), name
        assert experiment.chosen(full=True) == list(experiment.cases)
        assert experiment.chosen(full=False), name
        for case in experiment.cases:
            model = case.model(1, 0)
            check_settings(model)
            layers = len(model.hidden_layer_sizes) + 1
            assert len(model.prior_strength) == layers
            assert np.ndim(model.damping) == 0 or len(model.damping) == layers
            choose_masks(model.density, architecture_of((20, *(9,) * (layers - 1), 3)), rng)
            assert case.published or experiment.protocol is not None
            assert all(0 <= value <= 100 or name == "times" for value, _ in case.published.values())


def test_tasks_are_learnt_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continual_module, "TASKS", 4)
    data = load_dataset("digits")
    data = replace(data, X_test=data.X_test[:512], y_test=data.y_test[:512])  # one chunk
    for seed in range(2):
        settings = {"prior_strength": [1.0] * 3, "batch_size": 32, "random_state": seed}
        found = learn_in_turn(BPClassifier((41, 41), **settings), data, 3, seed)
        history, metrics = found["history"], found["metrics"]
        doubted = learn_in_turn(BPClassifier((41, 41), temperature=1.0, **settings), data, 3, seed)["metrics"]
        assert len(history) == 4
        for kind in (", point-wise", ", Bayesian"):
            for task in range(1, 5):
                assert history[task - 1][f"task {task}{kind}"] > 70.0  # when it was just learnt
            assert history[0][f"task 4{kind}"] < 50.0  # not learnt yet
            last = [history[-1][f"task {task}{kind}"] for task in range(1, 5)]
            assert metrics[f"all tasks{kind}"] == pytest.approx(np.mean(last))
            assert metrics[f"task 4{kind}"] == last[-1]
            assert 0.0 < doubted[f"lost{kind}"] < 0.75 * metrics[f"lost{kind}"]  # labels in doubt overwrite less
            assert doubted[f"all tasks{kind}"] > metrics[f"all tasks{kind}"] + 5.0


def test_tasks_in_turn_go_on_where_they_were_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment("tasks", "nowhere", SMALL.cases[:1], quick_epochs=2, full_epochs=2, protocol=learn_in_turn)
    monkeypatch.setattr(continual_module, "TASKS", 3)
    few = load_dataset("digits")
    few = replace(few, X_train=few.X_train[:300], y_train=few.y_train[:300], X_test=few.X_test[:100], y_test=few.y_test[:100])
    monkeypatch.setattr(base_module, "load_dataset", lambda *_: few)
    whole = reproduce("tasks", experiment)
    epochs: list[int] = []
    original = BPClassifier.partial_fit

    def interrupted(self: BPClassifier, *arguments: Any) -> BPClassifier:
        epochs.append(getattr(self, "n_iter_", 0))
        if len(epochs) == 4:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(BPClassifier, "partial_fit", interrupted)
    path = str(tmp_path / "tasks.json")
    with pytest.raises(KeyboardInterrupt):
        reproduce("tasks", experiment, path=path)
    resumed = reproduce("tasks", experiment, path=path)
    assert epochs == [0, 1, 2, 3, 3, 4, 5]
    assert resumed["runs"] == whole["runs"]


def test_metrics_of_trained_networks() -> None:
    data = load_dataset("digits")
    model = BPClassifier((21, 15), epochs=4, random_state=0).fit(data.X_train, data.y_train)
    overlaps = overlap_metrics(model, data)
    first = model.weight_means_[0]
    assert overlaps["q0, layer 1"] == pytest.approx(100 * np.mean(first**2))
    pairs = [first[a] @ first[b] / first.shape[1] for a in range(21) for b in range(21) if a != b]
    assert overlaps["qab, layer 1"] == pytest.approx(100 * np.mean(pairs))
    rises = flatness_metrics(model, data)
    assert -1.0 < rises["p = 0.05"] < rises["p = 0.2"] < rises["p = 0.35"] < 90.0
    assert seconds_metrics(model, data)["seconds"] > 0
