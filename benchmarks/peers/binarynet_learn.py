"""Test errors of BinaryNets in PyTorch, epoch by epoch, as JSON lines. Run by ../accuracy.py and ../convolution.py.

Two kinds, both with straight-through gradients and weights clipped to [-1, 1] (Hubara, Courbariaux, Soudry, El-Yaniv, Bengio
2016): "published", as Lucibello et al. 2022 set up their baseline (section B.6: sums divided by the square root of the number
of inputs, no batch normalisation, plain SGD), and "strong", with batch normalisation and Adam.
"""

import json
import sys
from itertools import pairwise

import numpy as np
import torch
from binarynet import BinaryNet, Sign
from torch import nn
from torch.nn import functional


class Published(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(k, n)) for n, k in pairwise(sizes))
        for weight in self.weights:
            nn.init.xavier_uniform_(weight)

    def forward(self, x):
        for number, weight in enumerate(self.weights):
            x = functional.linear(x, Sign.apply(weight)) / weight.shape[1] ** 0.5
            if number < len(self.weights) - 1:
                x = Sign.apply(x)
        return x


class Run:
    def __init__(self, sizes, kind, rate, seed, image_layers=(), shape=(), device="cpu"):
        torch.manual_seed(seed)
        published = kind == "published"
        self.net = (Published(sizes) if published else BinaryNet(sizes, image_layers, shape)).to(device)
        self.optimizer = (torch.optim.SGD if published else torch.optim.Adam)(self.net.parameters(), lr=rate)

    def epoch(self, X, y, size=128):
        self.net.train()
        order = torch.randperm(len(X)).to(X.device)
        for start in range(0, len(X) - size + 1, size):
            rows = order[start : start + size]
            self.optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(self.net(X[rows]), y[rows]).backward()
            self.optimizer.step()
            with torch.no_grad():
                for weight in self.net.weights:
                    weight.clamp_(-1, 1)

    def probabilities(self, X, size=1000):
        self.net.eval()
        with torch.no_grad():
            return torch.cat([self.net(X[start : start + size]).softmax(dim=1) for start in range(0, len(X), size)])

    def error(self, X, y):
        return 100 * float((self.probabilities(X).argmax(dim=1) != y).float().mean())


def main(file, orders_file, settings):
    settings = json.loads(settings)
    torch.set_num_threads(settings["threads"])
    device = settings.get("device", "cpu")
    with np.load(file) as data:
        X, y, X_test, y_test = (torch.from_numpy(data[name]).to(device) for name in ("X_train", "y_train", "X_test", "y_test"))
    image = {name: settings[name] for name in ("image_layers", "shape") if name in settings}
    run = Run(settings["sizes"], settings["kind"], settings["rate"], settings["seed"], **image, device=device)
    if orders_file == "-":
        for _ in range(settings["epochs"]):
            run.epoch(X, y)
            print(json.dumps({"test_error": run.error(X_test, y_test), "train_error": run.error(X, y)}), flush=True)
        if "probabilities" in settings:  # a file for those of the test rows
            np.save(settings["probabilities"], run.probabilities(X_test).cpu().numpy())
        return
    orders = torch.from_numpy(np.load(orders_file))
    for order in orders:
        rows = X[:, order]
        for _ in range(settings["epochs"]):
            run.epoch(rows, y)
        print(json.dumps([100 - run.error(X_test[:, other], y_test) for other in orders]), flush=True)


main(*sys.argv[1:])
