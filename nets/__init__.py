"""Deep networks with binary weights and sign activations, trained by belief propagation on the `factorgraph` engine."""

import factorgraph

if not hasattr(factorgraph, "BlockFactor"):
    raise ImportError(
        f"the module 'factorgraph' found at {factorgraph.__file__} is another project of that name; remove it "
        "(pip uninstall factorgraph) and install ours again (pip install --force-reinstall factorgraph-nets)"
    )

from nets.classifier import BPClassifier
from nets.datasets import Dataset, DatasetError, load_dataset
from nets.layers import Convolution, Dense, Pool
from nets.network import Network
from nets.perceptron import Perceptron
from nets.regressor import BPRegressor
from nets.training import CollapsedTrainingError

__all__ = [
    "BPClassifier",
    "BPRegressor",
    "CollapsedTrainingError",
    "Convolution",
    "Dataset",
    "DatasetError",
    "Dense",
    "Network",
    "Perceptron",
    "Pool",
    "load_dataset",
]
