"""Command line: ``nets train``, ``reproduce``, ``evaluate``, ``predict``, ``export``, ``download``."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph import BackendUnavailableError, __version__, backend_names
from factorgraph.files import write_text
from nets.channels import ACTIVATIONS, ARGMAX
from nets.classifier import BPClassifier
from nets.datasets import NAMES, DatasetError, hold_out, load_dataset, load_rows
from nets.downloads import download_dataset
from nets.encoding import choose_code
from nets.experiments import EXPERIMENTS, reproduce
from nets.experiments.figure import draw
from nets.layers import Architecture
from nets.methods import CAVITIES, METHODS
from nets.model_file import check_same_settings
from nets.settings import check_settings, choose_learning, hidden_layers, input_shape_of
from nets.signals import Listener, Stopped
from nets.table_files import named
from nets.training import CollapsedTrainingError

_COLUMNS = ("epoch", "train_error", "test_error", "test_error_bayes", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 1 (failed), 2 (wrong usage), or 128 and the number of the signal that ended it."""
    parser = _parser()
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
        code: int = options.run(options)
        return code
    except (DatasetError, BackendUnavailableError, CollapsedTrainingError, ValueError, OSError) as error:
        print(f"nets: {error}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"nets: {stop}", file=sys.stderr)
        return stop.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nets", description="Deep binary networks trained by belief propagation.")
    parser.add_argument("--version", action="version", version=f"nets {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data_help = f"one of {', '.join(NAMES)}, a path.npz with X_train, y_train, X_test, y_test (or X and y), or a table.csv"
    target_help = "column of a table that holds the labels"
    validate_help = "hold out so many training rows, and test on them: for choosing settings"
    folder_help = "folder of the idx or idx.gz files (default: NETS_DATA, a path list, then the usual places)"

    train = commands.add_parser("train", help="train a network", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    train.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=data_help)
    train.add_argument("--data", metavar="FOLDER", help=folder_help)
    train.add_argument("--target", metavar="COLUMN", help=target_help)
    train.add_argument("--hidden", type=int, nargs="*", default=[101, 101], metavar="N", help="units of each hidden layer")
    words = "hidden layers of any kind in their place: 501 (units), 32c5s2p1 (filters, size, stride, padding), pool2"
    train.add_argument("--layers", nargs="+", metavar="LAYER", help=words)
    shape_help = "how features are an image, for convolutions; default: one channel, a square"
    train.add_argument("--input-shape", type=int, nargs=3, metavar=("CHANNELS", "HEIGHT", "WIDTH"), help=shape_help)
    train.add_argument("--method", choices=METHODS, nargs="+", help="approximation of the layers, one or one a layer")
    train.add_argument("--cavity", choices=CAVITIES, default="first-order", help="how bpi takes an input out of a sum")
    train.add_argument("--memory-limit", type=int, default=2048, metavar="MIB", help="for messages of bp and exact cavities")
    train.add_argument("--epochs", type=int, default=20, help="passes through the training data")
    train.add_argument("--batch-size", type=int, help="rows of a mini-batch; default: 128, and 32 for fewer than 1,000 rows")
    train.add_argument(
        "--prior-strength",
        type=float,
        nargs="+",
        metavar="RHO",
        help="power of the posterior as next prior, one or one a layer",
    )
    train.add_argument("--damping", type=float, nargs="+", default=[0.8], metavar="PSI", help="one or one a layer")
    train.add_argument("--reinforcement", type=float, default=0.0, help="within a batch")
    train.add_argument("--iterations", type=int, default=1, help="sweeps for each batch")
    train.add_argument("--argmax", choices=ARGMAX, default="pairwise", help="probability of a label among many")
    train.add_argument("--density", type=float, nargs="+", default=[1.0], help="share of weights, one or one a layer")
    train.add_argument(
        "--weights",
        nargs="+",
        metavar="VALUE",
        help="binary, ternary or real, or the numbers that weights can be; default: by the features",
    )
    train.add_argument(
        "--activation", choices=ACTIVATIONS, nargs="+", default=["sign"], help="of hidden units, one or one a hidden layer"
    )
    train.add_argument("--biases", action=argparse.BooleanOptionalAction, help="weights for constant inputs too")
    train.add_argument("--activation-noise", type=float, help="variance added to each unit's sum; default: by the features")
    train.add_argument("--temperature", type=float, help="how far labels are in doubt; default: by the network")
    train.add_argument("--init-scale", type=float, help="deviation of the weights' first fields; default: by the depth")
    train.add_argument("--replicas", type=int, help="that hidden weights are drawn to the centre of; 1 for none")
    train.add_argument("--coupling", type=float, default=1.0, help="of replicas to their centre")
    train.add_argument(
        "--prediction",
        choices=("bayesian", "point"),
        default="bayesian",
        help="which one settings left open are for",
    )
    train.add_argument(
        "--averaging", action=argparse.BooleanOptionalAction, default=True, help="predict with beliefs averaged over epochs"
    )
    train.add_argument("--validate", type=int, metavar="ROWS", help=validate_help)
    train.add_argument("--backend", choices=backend_names(), default="numpy", help="array library of the engine")
    train.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="precision")
    train.add_argument(
        "--products", choices=("full", "tf32", "bfloat16"), default="full", help="what matrix products round their inputs to"
    )
    train.add_argument("--seed", type=int, default=0, help="makes a run reproducible")
    train.add_argument("--save", metavar="FILE", help="write the model here, after each epoch")
    train.add_argument("--resume", action="store_true", help="go on with the run in the file of --save, if it is there")
    train.add_argument("--json", metavar="FILE", help="write configuration and results here")
    train.add_argument("--config", metavar="FILE.toml", help="options of the same names; the command line has precedence")
    train.set_defaults(run=_train)

    repeat = commands.add_parser("reproduce", help="repeat a published experiment, our figures beside the published ones")
    repeat.add_argument("experiment", choices=list(EXPERIMENTS))
    repeat.add_argument("--full", action="store_true", help="the published protocol; else fewer epochs, cases and seeds")
    repeat.add_argument("--epochs", type=int, help="instead of the protocol's")
    repeat.add_argument("--seeds", type=int, nargs="+", help="instead of the protocol's")
    repeat.add_argument("--data", metavar="FOLDER", help=folder_help)
    repeat.add_argument("--validate", type=int, metavar="ROWS", help=validate_help)
    repeat.add_argument("--backend", choices=backend_names(), default="numpy", help="array library of the engine")
    repeat.add_argument(
        "--json", metavar="FILE", help="keep results here, and models in a folder beside it: a run goes on from them"
    )
    repeat.add_argument("--figure", metavar="FILE", help="draw ours and the published (needs matplotlib)")
    repeat.set_defaults(run=_reproduce)

    evaluate = commands.add_parser("evaluate", help="errors and calibration of a saved model on a data set's test part")
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=data_help)
    evaluate.add_argument("--data", metavar="FOLDER", help=folder_help)
    evaluate.add_argument("--target", metavar="COLUMN", help=target_help)
    evaluate.add_argument("--json", metavar="FILE", help="write the figures here")
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser("predict", help="labels that a saved model gives to rows")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("dataset", metavar="DATASET", help="path.npz with X, table.csv, or a data set's test part")
    predict.add_argument("--data", metavar="FOLDER", help=folder_help)
    predict.add_argument("--proba", action="store_true", help="print the probability of each class instead")
    predict.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    predict.set_defaults(run=_predict)

    export = commands.add_parser("export", help="write the point-wise network of a saved model for use elsewhere")
    export.add_argument("model", metavar="MODEL")
    export.add_argument("output", metavar="FILE", help="ends in .npz for bits, which nets/bits.py reads, or in .onnx")
    export.set_defaults(run=_export)

    download = commands.add_parser("download", help="fetch a data set from public mirrors, checked")
    download.add_argument("name", choices=NAMES[1:])
    download.add_argument("--folder", help="where to put it (default: the user's cache)")
    download.add_argument("--mirror", action="append", metavar="URL", help="fetch from here instead")
    download.set_defaults(run=_download)
    return parser


def _read_config(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Options from a TOML file, under those given on the command line."""
    try:
        settings = tomllib.loads(Path(options.config).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{options.config}: not TOML ({error})") from error
    words: list[str] = []
    known = vars(options)
    dataset = settings.pop("dataset", None)
    for name, value in settings.items():
        if name.replace("-", "_") not in known or name in ("run", "config"):
            raise ValueError(f"{options.config}: unknown option {name!r}; known: {sorted(set(known) - {'run', 'config'})}")
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
    for name in ("save", "json"):
        _check_writable(getattr(options, name))
    options.method = _one_or_many(options.method)
    data = load_dataset(options.dataset, options.data, options.target)
    if options.validate:
        data = hold_out(data, options.validate)
    model = BPClassifier(
        options.hidden,
        layers=options.layers,
        input_shape=options.input_shape,
        method=options.method,
        cavity=options.cavity,
        epochs=options.epochs,
        batch_size=options.batch_size,
        prior_strength=_one_or_many(options.prior_strength),
        damping=_one_or_many(options.damping),
        reinforcement=options.reinforcement,
        iterations=options.iterations,
        argmax=options.argmax,
        density=_one_or_many(options.density),
        backend=options.backend,
        dtype=options.dtype,
        products=options.products,
        weights=_weights(options.weights),
        activation=_one_or_many(options.activation),
        biases=options.biases,
        activation_noise=options.activation_noise,
        averaging=options.averaging,
        prediction=options.prediction,
        temperature=options.temperature,
        init_scale=options.init_scale,
        replicas=options.replicas,
        coupling=options.coupling,
        memory_limit=options.memory_limit << 20,
        random_state=options.seed,
        verbose=True,
    )
    resume = options.resume and _to_resume(options.save)
    if resume:
        model = _saved_run(options.save, model)
        _keep(model, options)  # the results may have been left an epoch behind
    classes = len(np.unique(data.y_train))
    check_settings(model)
    shape = input_shape_of(model, data.X_train.shape[1])
    network = Architecture(shape, hidden_layers(model), 1 if classes == 2 else classes)
    method = choose_learning(model, len(data.X_train), choose_code(model.encoding, data.X_train))[0]
    print(
        f"{data.name}: {len(data.X_train):,} training and {len(data.X_test):,} test rows; "
        f"network {network}, {method}, {options.backend}"
    )
    print(f"{'epoch':>5} {'train %':>8} {'test %':>8} {'Bayes %':>8} {'seconds':>8}", flush=True)

    finished = [model.n_iter_] if resume else []  # epochs that are kept

    def on_epoch(fitted: BPClassifier) -> None:
        row = fitted.history_[-1]
        print(
            f"{row['epoch']:>5} {row['train_error']:>8.2f} {row['test_error']:>8.2f} "
            f"{row['test_error_bayes']:>8.2f} {row['seconds']:>8.2f}",
            flush=True,
        )
        with options.listener.held():
            _keep(fitted, options)
            finished.append(row["epoch"])

    code = 0
    try:
        X, held = (named(rows, data.features) for rows in (data.X_train, data.X_test))
        model.fit(X, data.y_train, (held, data.y_test), on_epoch, resume)
    except Stopped as stop:
        code = stop.exit_code
        if not finished:
            print(f"{stop} before the first epoch was finished: nothing kept", file=sys.stderr)
            return code
        kept = f"the model of epoch {finished[-1]} is kept in {options.save}" if options.save else "no --save was given"
        print(f"{stop} after epoch {finished[-1]}: {kept}", file=sys.stderr)
    row = model.history_[-1]
    seconds = sum(entry["seconds"] for entry in model.history_)
    print(
        f"after {row['epoch']} epochs and {seconds:.1f} s of training: test error {row['test_error']:.2f} % point-wise, "
        f"{row['test_error_bayes']:.2f} % Bayesian"
    )
    if options.save:
        print(f"model saved to {options.save}")
    return code


def _weights(words: list[str] | None) -> str | list[float] | None:
    """A name, or numbers, or nothing."""
    if words is None:
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        if len(words) > 1:
            raise ValueError(f"--weights takes one name, or numbers, not {' '.join(words)}") from None
        return words[0]


def _to_resume(path: str | None) -> bool:
    """Whether there is a run to go on with."""
    if path is None:
        raise ValueError("--resume goes on with the run in the file of --save: give that too")
    return Path(path).exists()


def _saved_run(path: str, asked: BPClassifier) -> BPClassifier:
    """The model of a saved run, for as many epochs as are asked for, if it has the other settings that are asked for."""
    model = BPClassifier.load(path)
    model.epochs = asked.epochs
    check_same_settings(model, asked, path)
    model.verbose = True
    print(f"resuming {path} after epoch {model.n_iter_}")
    return model


def _keep(model: BPClassifier, options: argparse.Namespace) -> None:
    """Write the model and the results as they are after an epoch."""
    if options.save:
        model.save(options.save)
    if options.json:
        config = {name: value for name, value in vars(options).items() if name not in ("run", "listener")}
        epochs = [{name: row[name] for name in _COLUMNS} for row in model.history_]
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
    model = BPClassifier.load(options.model)
    data = load_dataset(options.dataset, options.data, options.target)
    found = model.evaluate(named(data.X_test, data.features), data.y_test)
    print(f"{data.name}, {len(data.X_test):,} test rows")
    print(f"{'':<12}{'error %':>9}{'-log p':>9}{'calibration error %':>21}")
    for name, suffix in (("point-wise", ""), ("Bayesian", "_bayes")):
        print(f"{name:<12}{found['test_error' + suffix]:>9.2f}{found['nll' + suffix]:>9.3f}{found['ece' + suffix]:>21.2f}")
    if options.json:
        _write_json(options.json, found)
    return 0


def _predict(options: argparse.Namespace) -> int:
    _check_writable(options.output)
    model = BPClassifier.load(options.model)
    columns = list(model.feature_names_in_) if hasattr(model, "feature_names_in_") else None
    X = load_rows(options.dataset, options.data, columns)
    X = named(X, columns) if columns is not None and X.shape[1] == len(columns) else X
    if options.proba:
        lines = [" ".join(f"{p:.6f}" for p in row) for row in model.predict_proba(X)]
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


def _one_or_many(values: list[Any] | None) -> Any:
    return values[0] if values is not None and len(values) == 1 else values


def _check_writable(path: str | None) -> None:
    """Refuse a file that cannot be written before hours of training, not after."""
    if path is not None and (not Path(path).resolve().parent.is_dir() or Path(path).is_dir()):
        raise ValueError(f"cannot write {path}: its folder does not exist, or it is a folder itself")


def _write_json(path: str, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
