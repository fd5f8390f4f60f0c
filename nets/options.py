"""Options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from factorgraph import __version__, backend_names
from nets.channels import ACTIVATIONS, ARGMAX
from nets.datasets import NAMES
from nets.experiments import EXPERIMENTS
from nets.methods import CAVITIES, METHODS

Run = Callable[[argparse.Namespace], int]


def parser_of(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """The parser of all commands; ``runs`` has what each of them does."""
    parser = argparse.ArgumentParser(prog="nets", description="Deep binary networks trained by belief propagation.")
    parser.add_argument("--version", action="version", version=f"nets {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    arrays_help = "a path.npz with X_train, y_train, X_test, y_test (or X and y), a folder of such .npy files"
    data_help = f"one of {', '.join(NAMES)}, {arrays_help}, or a table.csv"
    target_help = "column of a table that holds the labels or numbers"
    validate_help = "hold out so many training rows, and test on them: for choosing settings"
    folder_help = "folder of the idx or idx.gz files (default: NETS_DATA, a path list, then the usual places)"

    train = commands.add_parser("train", help="train a network", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    train.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=data_help)
    train.add_argument("--data", metavar="FOLDER", help=folder_help)
    train.add_argument("--target", metavar="COLUMN", help=target_help)
    train.add_argument("--regression", action="store_true", help="targets are numbers, not labels")
    train.add_argument("--hidden", type=int, nargs="*", default=[101, 101], metavar="N", help="units of each hidden layer")
    words = "hidden layers of any kind in their place: 501 (units), 32c5s2p1 (filters, size, stride, padding), pool2"
    train.add_argument("--layers", nargs="+", metavar="LAYER", help=words)
    shape_help = "how features are an image, for convolutions; default: one channel, a square"
    train.add_argument("--input-shape", type=int, nargs=3, metavar=("CHANNELS", "HEIGHT", "WIDTH"), help=shape_help)
    train.add_argument("--method", choices=METHODS, nargs="+", help="approximation of the layers, one or one a layer")
    train.add_argument("--cavity", choices=CAVITIES, default="first-order", help="how bpi takes an input out of a sum")
    train.add_argument("--memory-limit", type=int, default=2048, metavar="MIB", help="for messages of bp and exact cavities")
    train.add_argument("--epochs", type=int, help="passes through the training data; default: 20, for numbers 40")
    train.add_argument("--batch-size", type=int, help="rows of a mini-batch; default: by rows and layers")
    train.add_argument(
        "--prior-strength",
        type=float,
        nargs="+",
        metavar="RHO",
        help="power of the posterior as next prior, one or one a layer",
    )
    train.add_argument("--damping", type=float, nargs="+", metavar="PSI", help="one or one a layer; default: by the batch")
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
        "--activation",
        choices=ACTIVATIONS,
        nargs="+",
        help="of hidden units, one or one a hidden layer; default: sign, for numbers relu",
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
    report_help = "write pictures, figures, settings and versions as one HTML page here (needs matplotlib)"
    train.add_argument("--report", metavar="FILE.html", help=report_help)
    train.add_argument("--config", metavar="FILE.toml", help="options of the same names; the command line has precedence")
    left_open = {name: train.get_default(name) for name in vars(train.parse_args([]))}
    train.set_defaults(run=runs["train"], left_open=left_open)

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
    repeat.set_defaults(run=runs["reproduce"])

    evaluate = commands.add_parser("evaluate", help="errors and calibration of a saved model on a data set's test part")
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("dataset", nargs="?", default="digits", metavar="DATASET", help=data_help)
    evaluate.add_argument("--data", metavar="FOLDER", help=folder_help)
    evaluate.add_argument("--target", metavar="COLUMN", help=target_help)
    evaluate.add_argument("--json", metavar="FILE", help="write the figures here")
    evaluate.set_defaults(run=runs["evaluate"])

    predict = commands.add_parser("predict", help="labels or numbers that a saved model gives to rows")
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("dataset", metavar="DATASET", help="path.npz with X, table.csv, or a data set's test part")
    predict.add_argument("--data", metavar="FOLDER", help=folder_help)
    predict.add_argument("--proba", action="store_true", help="print the probability of each class instead")
    predict.add_argument("--std", action="store_true", help="print the standard deviation of each number too")
    predict.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    predict.set_defaults(run=runs["predict"])

    export = commands.add_parser("export", help="write the point-wise network of a saved model for use elsewhere")
    export.add_argument("model", metavar="MODEL")
    export.add_argument("output", metavar="FILE", help="ends in .npz for bits, which nets/bits.py reads, or in .onnx")
    export.set_defaults(run=runs["export"])

    download = commands.add_parser("download", help="fetch a data set from public mirrors, checked")
    download.add_argument("name", choices=NAMES[1:])
    download.add_argument("--folder", help="where to put it (default: the user's cache)")
    download.add_argument("--mirror", action="append", metavar="URL", help="fetch from here instead")
    download.set_defaults(run=runs["download"])
    return parser
