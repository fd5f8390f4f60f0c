"""Command line: ``nets train``, ``reproduce``, ``evaluate``, ``predict``, ``export``, ``download``."""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph import (
    BackendUnavailableError,
    CommunicatorUnavailableError,
    get_communicator,
)
from factorgraph.files import told, write_text
from nets.asked import check_targets, estimator_of, load_saved, one_or_many
from nets.classifier import BPClassifier
from nets.datasets import Dataset, DatasetError, hold_out, load_dataset, load_rows
from nets.downloads import download_dataset
from nets.encoding import choose_code
from nets.experiments import EXPERIMENTS, reproduce
from nets.experiments.figure import draw
from nets.layers import Architecture
from nets.model_file import check_same_settings
from nets.options import parser_of
from nets.regressor import BPRegressor
from nets.report import require_matplotlib, write_report
from nets.settings import check_settings, choose_learning, hidden_layers, input_shape_of
from nets.signals import Listener, Stopped
from nets.table_files import named
from nets.training import CollapsedTrainingError

_TOLD = (
    DatasetError, BackendUnavailableError, CommunicatorUnavailableError, CollapsedTrainingError, ValueError, OSError
)  # fmt: skip
_NO_SETTINGS = ("run", "listener", "words", "left_open")
_COLUMNS = ("epoch", "train_error", "test_error", "test_error_bayes", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 1 (failed), 2 (wrong usage), or 128 and the number of the signal that ended it."""
    parser = parser_of(_RUNS)
    options = parser.parse_args(arguments)
    with Listener() as listener:
        return _run(parser, options, arguments, listener)


def _run(
    parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str] | None, listener: Listener
) -> int:
    try:
        if getattr(options, "config", None):
            _read_config(parser, options, arguments)
        options.listener = listener
        options.words = list(sys.argv[1:] if arguments is None else arguments)
        code: int = options.run(options)
        return code
    except _TOLD as error:
        return _failed(told(error), 1)
    except Stopped as stop:
        return _failed(str(stop), stop.exit_code)


def _failed(message: str, code: int) -> int:
    """Tell of an error; of several ranks that fail alike the first one tells, and all are ended."""
    try:
        ranks = get_communicator("auto")
    except CommunicatorUnavailableError:  # which may be what is told
        ranks = get_communicator()
    if ranks.size == 1:
        print(f"nets: {message}", file=sys.stderr)
        return code
    time.sleep(2.0 * (ranks.rank > 0))  # longer than the first one takes to end them
    print(f"nets, rank {ranks.rank} of {ranks.size}: {message}", file=sys.stderr, flush=True)
    ranks.abort()
    return code


def _read_config(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Options from a TOML file, under those given on the command line."""
    try:
        settings = tomllib.loads(Path(options.config).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{options.config}: the file is not valid TOML ({error})") from error
    words: list[str] = []
    known = set(vars(options)) - {*_NO_SETTINGS, "config"}
    dataset = settings.pop("dataset", None)
    for name, value in settings.items():
        if name.replace("-", "_") not in known:
            raise ValueError(f"{options.config}: unknown option {name!r}; known: {sorted(known)}")
        if isinstance(value, bool):
            switch = name.replace("_", "-")
            words += [f"--{switch}"] if value else [f"--no-{switch}"] * (switch == "averaging")
            continue
        words += [f"--{name.replace('_', '-')}", *(str(v) for v in (value if isinstance(value, list) else [value]))]
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What stands later has precedence; a data set, the only word without a dash, must stay first.
    positional = [given[1]] if len(given) > 1 and not given[1].startswith("-") else [] if dataset is None else [dataset]
    rest = given[2:] if len(given) > 1 and not given[1].startswith("-") else given[1:]
    parser.parse_args([given[0], *positional, *words, *rest], namespace=options)


def _train(options: argparse.Namespace) -> int:
    ranks = get_communicator("auto")
    options.ranks = ranks.size
    if ranks.rank == 0:
        for name in ("save", "json", "report"):
            _check_writable(getattr(options, name))
        if options.report:
            require_matplotlib()
    started = datetime.now().astimezone()
    options.method = one_or_many(options.method)
    data = load_dataset(options.dataset, options.data, options.target)
    if options.validate:
        data = hold_out(data, options.validate)
    check_targets(data, options.regression)
    model = estimator_of(options, ranks)
    resume = options.resume and _to_resume(options.save)
    if resume:
        model = _saved_run(options.save, model)
        if ranks.rank == 0:
            _keep(model, options)  # the results may have been left an epoch behind
    check_settings(model)
    progress = _Progress(options, ranks.rank == 0, [model.n_iter_] if resume else [])
    progress.begin(data, model)
    code = 0
    try:
        X, held = (named(rows, data.features) for rows in (data.X_train, data.X_test))
        model.fit(X, data.y_train, validation_data=(held, data.y_test), on_epoch=progress.on_epoch, resume=resume)
    except Stopped as stop:
        code = stop.exit_code
        if ranks.size > 1:  # the others may wait for this one
            return _failed(progress.stopped(stop), code)
        print(progress.stopped(stop), file=sys.stderr)
        if not progress.finished:
            return code
    progress.end(model)
    if options.report and ranks.rank == 0:
        write_report(options.report, model, data, ["nets", *options.words], started)
        print(f"report: {options.report}")
    return code


class _Progress:
    """
    What `nets train` prints, and keeps after each epoch. Of several ranks, only the first one does so.

    Attributes
    ----------
    finished : list of the epochs that are kept
    """

    def __init__(self, options: argparse.Namespace, speaks: bool, finished: list[int]) -> None:
        self._options, self._speaks, self.finished = options, speaks, finished
        self._error = "rmse" if options.regression else "error"

    def begin(self, data: Dataset, model: BPClassifier | BPRegressor) -> None:
        """Print what is trained on what, and the heads of the table of epochs."""
        options = self._options
        shape = input_shape_of(model, data.X_train.shape[1])
        classes = 0 if options.regression else len(np.unique(data.y_train))
        network = Architecture(shape, hidden_layers(model), classes if classes > 2 else 1)
        method = model.method
        if isinstance(model, BPClassifier):
            method = choose_learning(model, len(data.X_train), choose_code(model.encoding, data.X_train))[0]
        if not self._speaks:
            return
        together = f", {options.ranks} ranks" if options.ranks > 1 else ""
        print(
            f"{data.name}: {len(data.X_train):,} training and {len(data.X_test):,} test rows; "
            f"network {network}, {method}, {options.backend}{together}"
        )
        names = ("train", "test", "Bayes")
        heads = [f"{name} RMSE" if options.regression else f"{name} %" for name in names]
        width = 10 if options.regression else 8
        print(f"{'epoch':>5} {' '.join(f'{head:>{width}}' for head in heads)} {'seconds':>8}", flush=True)

    def on_epoch(self, fitted: Any) -> None:
        """Print and keep an epoch."""
        if not self._speaks:
            return
        row, options = fitted.history_[-1], self._options
        numbers = [row[name] for name in (f"train_{self._error}", f"test_{self._error}", f"test_{self._error}_bayes")]
        cells = " ".join(f"{number:>10.4g}" if options.regression else f"{number:>8.2f}" for number in numbers)
        print(f"{row['epoch']:>5} {cells} {row['seconds']:>8.2f}", flush=True)
        with options.listener.held():
            _keep(fitted, options)
            self.finished.append(row["epoch"])

    def stopped(self, stop: Stopped) -> str:
        """What to say of a run that was stopped."""
        save = self._options.save
        if self._options.ranks > 1:
            return str(stop) + (f" after epoch {self.finished[-1]}, which is kept" if self.finished and save else "")
        if not self.finished:
            return f"{stop} before the first epoch was finished: nothing was kept"
        kept = f"the model of epoch {self.finished[-1]} is kept in {save}" if save else "no --save was given"
        return f"{stop} after epoch {self.finished[-1]}: {kept}"

    def end(self, model: BPClassifier | BPRegressor) -> None:
        """Print the last errors."""
        if not self._speaks:
            return
        row, numbers = model.history_[-1], self._options.regression
        seconds = sum(entry["seconds"] for entry in model.history_)
        ends = [row[f"test_{self._error}"], row[f"test_{self._error}_bayes"]]
        told = [f"{end:.4g}" if numbers else f"{end:.2f} %" for end in ends]
        what = "root mean square error" if numbers else "error"
        print(
            f"after {row['epoch']} epochs and {seconds:.1f} s of training: test {what} {told[0]} point-wise, {told[1]} Bayesian"
        )
        if self._options.save:
            print(f"model saved to {self._options.save}")


def _to_resume(path: str | None) -> bool:
    """Whether there is a run to go on with."""
    if path is None:
        raise ValueError("--resume continues the run in the file of --save: give that too")
    return Path(path).exists()


def _saved_run(path: str, asked: BPClassifier | BPRegressor) -> BPClassifier | BPRegressor:
    """The model of a saved run, for as many epochs as are asked for, if it has the other settings that are asked for."""
    model = type(asked).load(path)
    model.epochs, model.communicator = asked.epochs, asked.communicator
    check_same_settings(model, asked, path)
    model.verbose = True
    if asked.communicator.rank == 0:
        print(f"resuming {path} after epoch {model.n_iter_}")
    return model


def _keep(model: BPClassifier | BPRegressor, options: argparse.Namespace) -> None:
    """Write the model and the results as they are after an epoch."""
    if options.save:
        model.save(options.save)
    if options.json:
        config = {name: value for name, value in vars(options).items() if name not in _NO_SETTINGS}
        columns = [name.replace("error", "rmse") if model.real_output else name for name in _COLUMNS]
        epochs = [{name: row[name] for name in columns} for row in model.history_]
        _write_json(options.json, {"config": config, "epochs": epochs, "final": epochs[-1]})


def _reproduce(options: argparse.Namespace) -> int:
    for name in ("json", "figure"):
        _check_writable(getattr(options, name))
    experiment = EXPERIMENTS[options.experiment]
    settings = {"backend": options.backend, "verbose": True}
    results = reproduce(
        options.experiment,
        experiment,
        options.full,
        options.epochs,
        options.seeds,
        options.data,
        options.json,
        settings,
        options.validate,
    )
    if options.figure:
        draw(experiment, results, options.figure)
        print(f"picture: {options.figure}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    _check_writable(options.json)
    model = load_saved(options.model)
    data = load_dataset(options.dataset, options.data, options.target)
    found = model.evaluate(named(data.X_test, data.features), data.y_test)
    print(f"{data.name}, {len(data.X_test):,} test rows")
    heads, names = ("error %", "-log p", "calibration error %"), ("test_error", "nll", "ece")
    if model.real_output:
        heads, names = ("RMSE", "-log p", "within 90 % intervals, %"), ("rmse", "nll", "coverage")
    print(f"{'':<12}" + "".join(f"{head:>{max(9, len(head) + 2)}}" for head in heads))
    for kind, suffix in (("point-wise", ""), ("Bayesian", "_bayes")):
        digits = (".4g" if model.real_output else ".2f", ".3f", ".2f")
        cells = zip(heads, names, digits, strict=True)
        row = "".join(f"{found[name + suffix]:>{max(9, len(head) + 2)}{form}}" for head, name, form in cells)
        print(f"{kind:<12}{row}")
    if options.json:
        _write_json(options.json, found)
    return 0


def _predict(options: argparse.Namespace) -> int:
    _check_writable(options.output)
    model = load_saved(options.model)
    if options.proba and model.real_output:
        raise ValueError(f"--proba prints the probabilities of classes, but {options.model} predicts numbers: try --std")
    if options.std and not model.real_output:
        raise ValueError(f"--std prints standard deviations of numbers, but {options.model} predicts classes: try --proba")
    columns = list(model.feature_names_in_) if hasattr(model, "feature_names_in_") else None
    X = load_rows(options.dataset, options.data, columns)
    X = named(X, columns) if columns is not None and X.shape[1] == len(columns) else X
    if isinstance(model, BPClassifier) and options.proba:
        lines = [" ".join(f"{p:.6f}" for p in row) for row in model.predict_proba(X)]
    elif isinstance(model, BPRegressor) and options.std:
        lines = [f"{mean:.8g} {deviation:.4g}" for mean, deviation in zip(*model.predict(X, return_std=True), strict=True)]
    else:
        lines = [str(label) for label in model.predict(X)]
    text = "\n".join(lines) + "\n"
    if options.output:
        write_text(options.output, text)
    else:
        sys.stdout.write(text)
    return 0


def _export(options: argparse.Namespace) -> int:
    _check_writable(options.output)
    BPClassifier.load(options.model).export(options.output)
    return 0


def _download(options: argparse.Namespace) -> int:
    for path in download_dataset(options.name, options.folder, options.mirror):
        print(path)
    return 0


def _check_writable(path: str | None) -> None:
    """Refuse a file that cannot be written before hours of training, not after."""
    if path is not None and (not Path(path).resolve().parent.is_dir() or Path(path).is_dir()):
        raise ValueError(f"cannot write {path}: its folder does not exist, or the path is a folder")


def _write_json(path: str, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


_RUNS = {
    "train": _train,
    "reproduce": _reproduce,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "download": _download,
}

if __name__ == "__main__":
    sys.exit(main())
