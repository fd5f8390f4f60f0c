"""Runs experiments: trains case by case and seed by seed, keeps what is done, and compares with what was published."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factorgraph.files import write_text
from nets.classifier import BPClassifier
from nets.datasets import Dataset, hold_out
from nets.experiments.base import Case, Experiment, summary
from nets.model_file import check_same_settings


def reproduce(
    name: str,
    experiment: Experiment,
    full: bool = False,
    epochs: int | None = None,
    seeds: Sequence[int] | None = None,
    folder: str | None = None,
    path: str | None = None,
    settings: dict[str, Any] | None = None,
    validate: int | None = None,
) -> dict[str, Any]:
    """
    Train all cases of an experiment and print our figures beside the published ones.

    Parameters
    ----------
    name, experiment : from `EXPERIMENTS`
    full : the published protocol instead of fewer epochs, cases and seeds
    epochs, seeds : instead of those of the protocol
    folder : of the data sets
    path : JSON file of the results. A run that was broken off goes on from it, and from the models beside it; without one
        nothing is kept.
    settings : of `BPClassifier`, beside those of the cases (the backend, say)
    validate : training rows that are held out, to be tested on in place of the test rows

    Returns
    -------
    dict with ``experiment``, ``epochs``, ``validate`` and ``runs``: for each case and seed its metrics and history
    """
    epochs = epochs or (experiment.full_epochs if full else experiment.quick_epochs)
    seeds = tuple(seeds) if seeds else experiment.seeds if full else experiment.seeds[:1]
    results: dict[str, Any] = {"experiment": name, "epochs": epochs, "validate": validate, "runs": {}}
    if path is not None and Path(path).exists():
        results = _kept(path, results)
    print(f"{experiment.title} ({experiment.source}); {epochs} epochs, published after {experiment.full_epochs}", flush=True)
    loaded: dict[tuple[str, bool], Dataset] = {}
    for case in experiment.chosen(full):
        for seed in seeds:
            key = f"{case.label}, seed {seed}"
            if key in results["runs"]:
                continue
            where = (case.dataset, case.two_classes)
            if where not in loaded:
                data = case.data(folder)
                loaded = {where: hold_out(data, validate) if validate else data}  # one at a time
            results["runs"][key] = _run(case, seed, epochs, experiment, loaded[where], path, settings or {})
            if path is not None:
                write_text(path, json.dumps(results, indent=2) + "\n")
        print_row(case, [results["runs"][f"{case.label}, seed {seed}"]["metrics"] for seed in seeds], experiment)
    return results


def _run(
    case: Case,
    seed: int,
    epochs: int,
    experiment: Experiment,
    data: Dataset,
    path: str | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train one network, going on from its model file if there is one."""
    model, saved = case.model(epochs, seed).set_params(**settings), None
    if path is not None:
        saved = Path(path).with_suffix("") / (re.sub(r"[^\w.-]+", "-", f"{case.label}-{seed}") + ".npz")
        saved.parent.mkdir(exist_ok=True)
    resume = saved is not None and saved.exists()
    if saved is not None and resume:
        asked, model = model, BPClassifier.load(saved)
        check_same_settings(model, asked, saved)

    def on_epoch(fitted: BPClassifier) -> None:
        if saved is not None:
            fitted.save(saved)

    if experiment.protocol is not None:
        return experiment.protocol(model, data, epochs, seed, on_epoch)
    if not resume or model.n_iter_ < epochs:
        model.fit(data.X_train, data.y_train, (data.X_test, data.y_test), on_epoch, resume)
    return {"metrics": experiment.metrics(model, data), "history": model.history_}


def _kept(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        differ = [name for name in ("experiment", "epochs", "validate") if results[name] != asked[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of nets reproduce ({error}); choose another file for --json") from error
    if differ:
        told = ", ".join(f"{name} {results[name]!r}, not {asked[name]!r}" for name in differ)
        raise ValueError(f"{path} holds a run of {told}; choose another file for --json")
    return dict(results)


def print_row(case: Case, metrics: list[dict[str, float]], experiment: Experiment) -> None:
    """A case's metrics: ours, the published, the difference."""
    print(f"  {case.label}")
    for name in metrics[0]:
        mean, deviation = summary([found[name] for found in metrics])
        spread = f" +- {deviation:.2f}" if len(metrics) > 1 else ""
        line = f"    {name:<24} {mean:8.2f}{spread} {experiment.unit}"
        if name in case.published:
            value, error = case.published[name]
            line += f"   published {value:.2f}{f' +- {error:.2f}' if error else ''}   difference {mean - value:+.2f}"
        print(line, flush=True)
