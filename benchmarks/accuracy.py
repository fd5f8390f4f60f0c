"""
BinaryNets in PyTorch on the same data and machine as our networks: test errors, and what is left of tasks learnt in turn.

    python benchmarks/accuracy.py --torch-python TORCH/bin/python --data FOLDER [--dataset mnist] [--hidden 501 501]
        [--epochs 10] [--seeds 0 1 2] [--kind published strong] [--rates 10 0.001] [--two-classes] [--validate]
        [--continual] [--kind ours ...] [--temperature 1] [--growth 1.6] [--replicas 1] [--threads 2] [--json FILE]

TORCH is an environment with PyTorch and NumPy. With ``--validate`` errors are on 10,000 rows held out of the training set: what
a learning rate is to be chosen by. Our own networks run with ``nets train`` and ``nets reproduce``; with ``--continual`` they
run here too (``--kind ours``): in the published way (rho 1, psi 0.8, hard labels), or with labels in doubt and with fields that
grow by ``e^growth`` over all tasks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nets import BPClassifier
from nets.datasets import Dataset, hold_out, load_dataset
from nets.encoding import Standardization, encode
from nets.experiments.continual import TASKS, learn_in_turn, orders_of_inputs

_RATES = {"published": 10.0, "strong": 1e-3}  # of learning
_LEARN = Path(__file__).parent / "peers" / "binarynet_learn.py"


def binarynet(python: str, files: tuple[str, str], settings: dict[str, Any]) -> list[Any]:
    """One JSON value for each epoch, or for each task."""
    command = [python, str(_LEARN), *files, json.dumps(settings)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def write(data: Dataset, folder: str) -> str:
    """Training and test rows, encoded as our networks have them."""
    code, path = Standardization.of(data.X_train), str(Path(folder) / "data.npz")
    arrays = {name: encode(code, getattr(data, name), "float32") for name in ("X_train", "X_test")}
    labels = {name: np.asarray(getattr(data, name), dtype=np.int64) for name in ("y_train", "y_test")}
    np.savez(path, **arrays, **labels)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", required=True)
    parser.add_argument("--data")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--hidden", type=int, nargs="+", default=[501, 501])
    parser.add_argument("--epochs", type=int, default=10, help="with --continual, of each task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kind", nargs="+", default=["published", "strong"], choices=["ours", *_RATES])
    parser.add_argument("--rates", type=float, nargs="+", help="learning rate of each BinaryNet")
    parser.add_argument("--temperature", type=float, default=0.0, help="of our labels")
    parser.add_argument("--growth", type=float, default=0.0, help="of our fields")
    parser.add_argument("--replicas", type=int, default=1, help="of our hidden weights")
    parser.add_argument("--two-classes", action="store_true")
    parser.add_argument("--continual", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    args = parser.parse_args()
    if "ours" in args.kind and not args.continual:
        parser.error("--kind ours is for --continual; else use `nets train`")
    data = load_dataset(args.dataset, args.data)
    if args.two_classes:
        data = Dataset(data.name, data.X_train, data.y_train % 2, data.X_test, data.y_test % 2)
    if args.validate:
        data = hold_out(data, 10_000)
    kinds = [kind for kind in args.kind if kind != "ours"]
    rates = args.rates or [_RATES[kind] for kind in kinds]
    results = []
    sizes = [data.X_train.shape[1], *args.hidden, len(np.unique(data.y_train))]
    with tempfile.TemporaryDirectory() as folder:
        file = write(data, folder)
        for seed in args.seeds:
            orders = "-"
            if args.continual:
                orders = str(Path(folder) / "orders.npy")
                np.save(orders, np.stack(orders_of_inputs(sizes[0], seed)))
            if args.continual and "ours" in args.kind:
                batches = TASKS * args.epochs * (len(data.X_train) // 128)
                rho = 1.0 + args.growth / batches
                settings = {"method": "bpi", "temperature": args.temperature, "replicas": args.replicas, "random_state": seed}
                ours = BPClassifier(args.hidden, prior_strength=rho, **settings)
                found = learn_in_turn(ours, data, args.epochs, seed)["metrics"]
                results.append({"kind": "ours", "seed": seed, "metrics": found})
                for name in ("all tasks, point-wise", "all tasks, Bayesian"):
                    print(f"ours, seed {seed}: {name} {found[name]:.2f} %", flush=True)
            for kind, rate in zip(kinds, rates, strict=True):
                settings = {"sizes": sizes, "kind": kind, "rate": rate, "seed": seed}
                found = binarynet(
                    args.torch_python, (file, orders), {**settings, "epochs": args.epochs, "threads": args.threads}
                )
                results.append({**settings, "found": found})
                told = (
                    f"all tasks {np.mean(found[-1]):.2f} %" if args.continual else f"test error {found[-1]['test_error']:.2f} %"
                )
                print(f"BinaryNet, {kind}, rate {rate:g}, seed {seed}: {told}", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps({**vars(args), "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
