"""Seconds per batch of a BinaryNet in PyTorch: eager, and compiled where that runs; as JSON. Run by ../nets_epoch.py.

Binary weights and activations by straight-through gradients, batch normalisation before each activation, Adam, weights clipped
to [-1, 1] after each step (Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016). Training data lie on the device; batches are
gathered there.
"""

import json
import sys
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (x.abs() <= 1)


class BinaryNet(nn.Module):
    """Dense layers of these sizes; or below them the layers of an image, as `nets` writes them in files."""

    def __init__(self, sizes, image_layers=(), shape=()):
        super().__init__()
        self.shape, self.steps, weights, norms = shape, [], [], []
        for layer in image_layers:
            if layer["kind"] == "Pool":  # the largest of sums has the largest sign: before the normalisation of the layer below
                self.steps[-1]["pool"] = layer["size"]
                continue
            channels, size = layer["channels"], layer["size"]
            self.steps.append({"stride": layer["stride"], "padding": layer["padding"], "pool": 1})
            weights.append(torch.empty(channels, shape[0], size, size))
            norms.append(nn.BatchNorm2d(channels))
            shape = (channels,)
        for n, k in pairwise(sizes):
            weights.append(torch.empty(k, n))
            norms.append(nn.BatchNorm1d(k))
        self.weights = nn.ParameterList(nn.Parameter(weight.uniform_(-1, 1)) for weight in weights)
        self.norms = nn.ModuleList(norms)

    def forward(self, x):
        if self.steps:
            x = x.reshape(-1, *self.shape)
        for number, (weight, norm) in enumerate(zip(self.weights, self.norms, strict=True)):
            weight = Sign.apply(weight)
            if number < len(self.steps):
                step = self.steps[number]
                x = functional.conv2d(x, weight, stride=step["stride"], padding=step["padding"])
                x = functional.max_pool2d(x, step["pool"]) if step["pool"] > 1 else x
            else:
                x = functional.linear(x.flatten(1), weight)
            x = norm(x)
            if number < len(self.weights) - 1:
                x = Sign.apply(x)
        return x


def seconds_per_batch(sizes, size, batches, device, compiled):
    """Of the fastest of three epochs, after one that warms up."""
    net = BinaryNet(sizes).to(device)
    X = torch.randn(size * batches, sizes[0], device=device)
    y = torch.randint(sizes[-1], (size * batches,), device=device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=device == "cuda" or None)
    forward = torch.compile(net) if compiled else net

    def epoch():
        order = torch.randperm(len(X), device=device)
        for start in range(0, len(X), size):
            rows = order[start : start + size]
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(forward(X[rows]), y[rows]).backward()
            optimizer.step()
            with torch.no_grad():
                for weight in net.weights:
                    weight.clamp_(-1, 1)
        if device == "cuda":
            torch.cuda.synchronize()

    found = []
    for _ in range(4):
        start = time.perf_counter()
        epoch()
        found.append(time.perf_counter() - start)
    return min(found[1:]) / batches


def main(sizes, size, batches, device):
    sizes = [int(n) for n in sizes.split("-")]
    figures = {"version": torch.__version__, "threads": torch.get_num_threads()}
    figures["eager"] = seconds_per_batch(sizes, int(size), int(batches), device, compiled=False)
    try:
        figures["compiled"] = seconds_per_batch(sizes, int(size), int(batches), device, compiled=True)
    except Exception as error:  # no compiler at hand, say
        figures["not compiled"] = str(error).splitlines()[0]
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
