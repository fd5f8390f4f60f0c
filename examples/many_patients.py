"""
Many sets of evidence
=====================

The ALARM network is asked about each of 12 patients, once by several processes and once as one batch. An ``Inference`` is
compiled once and sent to each process, which then answers patient after patient. With ``batch=B`` one process answers all
patients at once. On one core the batch is the faster way, and the answers are the same.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

MONITORS = ["BP", "HRBP", "CVP", "SAO2", "PRESS", "EXPCO2"]
CAUSE = "HYPOVOLEMIA"
PATIENTS, PROCESSES = 12, 2
DAMPING, ITERATIONS = 0.3, 60
_received = {}


def receive(inference, monitors, cause):
    """Keep what a process answers with. The graph came along: its variables are asked for by name."""
    names = {name: inference.graph.variables(block)[index] for name, (block, index) in {**monitors, **cause}.items()}
    _received.update(inference=inference, variables=names)


def answer(readings):
    """Probability of the cause, given readings of the monitors."""
    inference, variables = _received["inference"], _received["variables"]
    for name, state in readings.items():
        inference.observe(variables[name], state)
    return float(inference.run(ITERATIONS, tolerance=0.0, raise_on_contradiction=False).marginals(variables[CAUSE])[0])


def place(model, name):
    """Block and index of a variable of the model, by which any copy of the graph knows it."""
    return model[name].name, tuple(int(i) for i in np.unravel_index(model[name].index, model[name].block.shape))


def main():
    rng = np.random.default_rng(0)
    model = fg.read_bif(Path(__file__).parent / "alarm.bif")
    sizes = {name: len(model[name].type.states) for name in MONITORS}
    patients = [{name: int(rng.integers(size)) for name, size in sizes.items()} for _ in range(PATIENTS)]

    start = time.perf_counter()
    inference = fg.Inference(model.graph, fg.Flooding(), damping=DAMPING)
    where = {name: place(model, name) for name in MONITORS}
    given = inference, where, {CAUSE: place(model, CAUSE)}
    with ProcessPoolExecutor(PROCESSES, initializer=receive, initargs=given) as pool:
        one_by_one = np.array(list(pool.map(answer, patients, chunksize=20)))
    print(f"{PATIENTS} patients by {PROCESSES} processes: {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    batch = fg.Inference(model.graph, fg.Flooding(), damping=DAMPING, batch=PATIENTS)
    for name in MONITORS:
        batch.observe(model[name], np.array([readings[name] for readings in patients]))
    at_once = batch.run(ITERATIONS, tolerance=0.0, raise_on_contradiction=False).marginals(model[CAUSE])[:, 0]
    print(f"as one batch: {time.perf_counter() - start:.1f} s; largest difference {np.abs(at_once - one_by_one).max():.1e}")
    assert np.allclose(at_once, one_by_one, atol=1e-9)

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.hist(at_once, bins=np.linspace(0, 1, 21))
    axes.set_xlabel(f"probability of {CAUSE}")
    axes.set_ylabel("patients")
    axes.yaxis.get_major_locator().set_params(integer=True)
    figure.savefig("many_patients.png", dpi=120)
    print("picture: many_patients.png")


if __name__ == "__main__":
    main()
