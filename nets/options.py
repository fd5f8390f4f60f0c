"""Options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from factorgraph import __version__, backend_names
from nets.channels import ACTIVATIONS, ARGMAX
from nets.datasets import NAMES
from nets.experiments import EXPERIMENTS
from nets.methods import CAVITIES, METHODS

Run = Callable[[argparse.Namespace], int]


_ARRAYS = "a path.npz with X_train, y_train, X_test, y_test (or X and y), a folder of such .npy files"
_DATA = f"one of {', '.join(NAMES)}, {_ARRAYS}, or a table.csv"
_TARGET = "column of a table that holds the labels or numbers"
_VALIDATE = "hold out this number of training rows, and test on them: use it to choose settings"
_FOLDER = "folder of the idx or idx.gz files (default: the paths in NETS_DATA, then the usual places)"

Commands = Any
"""What argparse's ``add_subparsers`` gives."""


def parser_of(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """The parser of all commands. ``runs`` has the function that runs each command."""
    parser = argparse.ArgumentParser(prog="nets", description="Deep binary networks trained by belief propagation.")
    parser.add_argument("--version", action="version", version=f"nets {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add in _COMMANDS.items():
        add(commands).set_defaults(run=runs[name])
    return parser


def _train(commands: Commands) -> argparse.ArgumentParser:
    train = commands.add_parser("train", help="train a network", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    train.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=_DATA)
    train.add_argument("--data", metavar="FOLDER", help=_FOLDER)
    train.add_argument("--target", metavar="COLUMN", help=_TARGET)
    train.add_argument("--regression", action="store_true", help="targets are numbers, not labels")
    _add_network(train.add_argument_group("the network"))
    _add_learning(train.add_argument_group("learning and predictions"))
    train.add_argument("--validate", type=int, metavar="ROWS", help=_VALIDATE)
    train.add_argument("--backend", choices=backend_names(), default="numpy", help="array library of the engine")
    train.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="floating-point precision")
    train.add_argument(
        "--products",
        choices=("full", "tf32", "bfloat16"),
        default="full",
        help="format to which inputs of matrix products are rounded",
    )
    train.add_argument("--seed", type=int, default=0, help="seed of the random numbers; the same seed gives the same run")
    train.add_argument("--save", metavar="FILE", help="write the model to this file after each epoch")
    train.add_argument("--resume", action="store_true", help="continue the run in the file of --save, if it exists")
    train.add_argument("--json", metavar="FILE", help="write configuration and results to this file")
    report_help = "write one HTML page with pictures, figures, settings and versions (needs matplotlib)"
    train.add_argument("--report", metavar="FILE.html", help=report_help)
    train.add_argument(
        "--config", metavar="FILE.toml", help="read options of the same names from this file; the command line has precedence"
    )
    left_open = {name: train.get_default(name) for name in vars(train.parse_args([]))}
    train.set_defaults(left_open=left_open)
    return train


def _add_network(train: argparse._ArgumentGroup) -> None:
    """What the network is."""
    train.add_argument("--hidden", type=int, nargs="*", default=[101, 101], metavar="N", help="units of each hidden layer")
    words = "instead of --hidden, layers of any kind: 501 (units), 32c5s2p1 (filters, size, stride, padding), pool2"
    train.add_argument("--layers", nargs="+", metavar="LAYER", help=words)
    shape_help = "shape of the image that features form, for convolutions; default: a square with one channel"
    train.add_argument("--input-shape", type=int, nargs=3, metavar=("CHANNELS", "HEIGHT", "WIDTH"), help=shape_help)
    train.add_argument("--method", choices=METHODS, nargs="+", help="approximation of the messages: one, or one for each layer")
    train.add_argument("--cavity", choices=CAVITIES, default="first-order", help="how bpi takes one input out of a sum")
    train.add_argument(
        "--memory-limit", type=int, default=2048, metavar="MIB", help="memory for messages of bp and exact cavities"
    )
    train.add_argument("--argmax", choices=ARGMAX, default="pairwise", help="how to find the probability of a label among many")
    train.add_argument(
        "--density", type=float, nargs="+", default=[1.0], help="fraction of the weights to keep: one, or one for each layer"
    )
    train.add_argument(
        "--weights",
        nargs="+",
        metavar="VALUE",
        help="binary, ternary, real, or the values of a weight; the default depends on the features",
    )
    train.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        nargs="+",
        help="activation of hidden units: one, or one for each hidden layer; default: sign, or relu for numbers",
    )
    train.add_argument(
        "--biases",
        action=argparse.BooleanOptionalAction,
        help="add weights for constant inputs; the default depends on features and layers",
    )
    train.add_argument(
        "--activation-noise", type=float, help="variance added to each unit's sum; the default depends on the features"
    )


def _add_learning(train: argparse._ArgumentGroup) -> None:
    """How the network learns and predicts."""
    train.add_argument("--epochs", type=int, help="passes through the training data; default: 20, or 40 for numbers")
    train.add_argument("--batch-size", type=int, help="rows of a mini-batch; the default depends on rows and layers")
    train.add_argument(
        "--prior-strength",
        type=float,
        nargs="+",
        metavar="RHO",
        help="power of the posterior as next prior: one, or one for each layer",
    )
    train.add_argument(
        "--damping",
        type=float,
        nargs="+",
        metavar="PSI",
        help="damping: one, or one for each layer; the default depends on the batch",
    )
    train.add_argument("--reinforcement", type=float, default=0.0, help="reinforcement within a batch")
    train.add_argument("--iterations", type=int, default=1, help="sweeps for each batch")
    train.add_argument("--temperature", type=float, help="above 0, labels are soft; the default depends on the network")
    train.add_argument(
        "--init-scale", type=float, help="standard deviation of the first fields of weights; the default depends on the depth"
    )
    train.add_argument("--replicas", type=int, help="replicas for focusing of hidden weights; 1 means none")
    train.add_argument("--coupling", type=float, default=1.0, help="coupling of replicas to their centre")
    train.add_argument(
        "--prediction",
        choices=("bayesian", "point"),
        default="bayesian",
        help="kind of prediction for which default settings are chosen",
    )
    train.add_argument(
        "--averaging", action=argparse.BooleanOptionalAction, default=True, help="predict with beliefs averaged over epochs"
    )


def _reproduce(commands: Commands) -> argparse.ArgumentParser:
    repeat = commands.add_parser(
        "reproduce", help="repeat a published experiment, and print our figures beside the published ones"
    )
    repeat.add_argument("experiment", choices=list(EXPERIMENTS))
    repeat.add_argument(
        "--full", action="store_true", help="run the whole published protocol instead of fewer epochs, cases and seeds"
    )
    repeat.add_argument("--epochs", type=int, help="epochs, instead of the protocol's")
    repeat.add_argument("--seeds", type=int, nargs="+", help="seeds, instead of the protocol's")
    repeat.add_argument("--data", metavar="FOLDER", help=_FOLDER)
    repeat.add_argument("--validate", type=int, metavar="ROWS", help=_VALIDATE)
    repeat.add_argument("--backend", choices=backend_names(), default="numpy", help="array library of the engine")
    repeat.add_argument(
        "--json",
        metavar="FILE",
        help="keep results in this file, and models in a folder beside it; a later run continues from them",
    )
    repeat.add_argument("--figure", metavar="FILE", help="draw our figures and the published ones (needs matplotlib)")
    return repeat


def _evaluate(commands: Commands) -> argparse.ArgumentParser:
    evaluate = commands.add_parser(
        "evaluate", help="measure errors and calibration of a saved model on the test rows of a data set"
    )
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=_DATA)
    evaluate.add_argument("--data", metavar="FOLDER", help=_FOLDER)
    evaluate.add_argument("--target", metavar="COLUMN", help=_TARGET)
    evaluate.add_argument("--json", metavar="FILE", help="write the figures to this file")
    return evaluate


def _predict(commands: Commands) -> argparse.ArgumentParser:
    predict = commands.add_parser("predict", help="predict labels or numbers of rows with a saved model")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument(
        "dataset", metavar="DATASET", help="path.npz with X, table.csv, or a data set, of which test rows are used"
    )
    predict.add_argument("--data", metavar="FOLDER", help=_FOLDER)
    predict.add_argument("--proba", action="store_true", help="print the probability of each class instead")
    predict.add_argument("--std", action="store_true", help="print the standard deviation of each number too")
    predict.add_argument("--output", metavar="FILE", help="write to this file instead of the screen")
    return predict


def _export(commands: Commands) -> argparse.ArgumentParser:
    export = commands.add_parser("export", help="write the point-wise network of a saved model, for use without nets")
    export.add_argument("model", metavar="MODEL")
    export.add_argument(
        "output", metavar="FILE", help="name that ends in .npz, for bits, which nets/bits.py reads, or in .onnx"
    )
    return export


def _download(commands: Commands) -> argparse.ArgumentParser:
    download = commands.add_parser("download", help="download a data set from public mirrors, and check it")
    download.add_argument("name", choices=NAMES[1:])
    download.add_argument("--folder", help="folder for the files (default: the user's cache)")
    download.add_argument("--mirror", action="append", metavar="URL", help="download from this address instead")
    return download


_COMMANDS: dict[str, Callable[[Commands], argparse.ArgumentParser]] = {
    "train": _train,
    "reproduce": _reproduce,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "download": _download,
}
