"""
What an installed distribution must be able to do, without the repository: run by `make dist-test` in a fresh environment.

    python smoke.py VERSION
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import factorgraph as fg
import nets

assert fg.__version__ == sys.argv[1], (fg.__version__, sys.argv[1])
for package in (fg, nets):
    home = Path(package.__file__).parent
    assert "site-packages" in home.parts, f"{home} is not installed"
    assert (home / "py.typed").exists(), f"{home} has lost its types"
assert list((Path(fg.__file__).parent / "backends" / "kernels").glob("*.cu")), "the kernels were left out"

graph = fg.FactorGraph()
x = graph.add_variables("x", fg.Spin(), (6, 6))
graph.add_factors("down", fg.Ising(0.1), x[:-1], x[1:])
graph.add_factors("across", fg.Ising(0.1), x[:, :-1], x[:, 1:])
graph.set_prior(x, 0.1)
assert np.abs(fg.run(graph).mean(x) - fg.exact(graph).mean(x)).max() < 1e-3

data = nets.load_dataset("digits")
model = nets.BPClassifier((51,), epochs=5, random_state=0).fit(data.X_train, data.y_train)
assert model.score(data.X_test, data.y_test) > 0.9

with tempfile.TemporaryDirectory() as folder:
    saved = Path(folder) / "net.npz"
    commands = Path(sys.executable).parent
    train = [commands / "nets", "train", "digits", "--hidden", "21", "--epochs", "1", "--save", saved]
    subprocess.run(train, check=True, capture_output=True)
    assert saved.exists()
    subprocess.run([commands / "factorgraph", "--help"], check=True, capture_output=True)
print(f"factorgraph-nets {fg.__version__} works on Python {sys.version.split()[0]} with NumPy {np.__version__}")
