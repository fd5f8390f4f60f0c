"""
The ALARM network: a patient and a monitor
==========================================

A Bayesian network of 37 variables says how illnesses, treatments and the readings of a monitor depend on each other. It is
read from the file ``alarm.bif``, which lies beside this example. Given some readings, loopy belief propagation and a junction
tree say what is wrong with the patient. The exact answers are checked against random cases that are drawn from the network,
each weighted by the probability of the readings.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

READINGS = {"BP": "LOW", "HRBP": "HIGH", "CVP": "HIGH", "SAO2": "LOW", "PRESS": "NORMAL"}
CAUSES = ["LVFAILURE", "HYPOVOLEMIA", "ANAPHYLAXIS", "INTUBATION", "DISCONNECT"]
CASES = 300_000


def weighted_cases(model, evidence, rng):
    """Marginals by likelihood weighting: parents before children, each drawn given its parents; evidence weighs."""
    number = {(model[v].name, int(model[v].index)): v for v in range(len(model))}
    tables = {}
    for block in model.graph.factor_blocks.values():
        for factor, table in enumerate(np.moveaxis(np.exp(block.bound.enumerated()), -1, 0)):
            *parents, child = [number[port.name, int(port.index[factor])] for port in block.ports]
            tables[child] = parents, table
    given = {model.number(name): int(model.state(name, state)) for name, state in evidence.items()}
    values, weights = {}, np.ones(CASES)
    while len(values) < len(model):
        for variable, (parents, table) in tables.items():
            if variable in values or any(parent not in values for parent in parents):
                continue
            rows = table[tuple(values[parent] for parent in parents)]
            if variable in given:
                values[variable] = np.full(CASES, given[variable])
                weights = weights * rows[..., given[variable]]
            else:
                ladder = np.broadcast_to(np.cumsum(rows, axis=-1), (CASES, table.shape[-1]))
                values[variable] = (rng.random((CASES, 1)) * ladder[:, -1:] > ladder).sum(axis=1)
    return values, weights


def main():
    rng = np.random.default_rng(0)
    model = fg.read_bif(Path(__file__).parent / "alarm.bif")
    model.observe(READINGS)
    exact, loopy = fg.exact(model.graph), fg.run(model.graph, damping="auto")
    print(f"loopy: {loopy}; probability of the readings exactly {np.exp(exact.log_partition):.3e}, ", end="")
    print(f"Bethe's {np.exp(loopy.log_partition):.3e}")
    values, weights = weighted_cases(model, READINGS, rng)

    print(f"{'':14}{'exact':>9}{'loopy':>9}{'cases':>9}")
    for name in CAUSES:
        chance = [float(result.marginals(model[name])[0]) for result in (exact, loopy)]
        hits = values[model.number(name)] == 0
        sampled = (weights * hits).sum() / weights.sum()
        spread = np.sqrt((weights**2 * (hits - sampled) ** 2).sum()) / weights.sum()
        print(f"{name:14}{chance[0]:9.4f}{chance[1]:9.4f}{sampled:9.4f} +- {spread:.4f}")
        assert abs(sampled - chance[0]) < 5 * spread + 1e-4
    assert abs(weights.mean() / np.exp(exact.log_partition) - 1) < 0.05
    gaps = [np.abs(a - b).max() for a, b in zip(model.marginals(exact), model.marginals(loopy), strict=True)]
    print(f"largest error of a loopy marginal {max(gaps):.3f}, mean {np.mean(gaps):.4f}")
    assert np.mean(gaps) < 0.05

    figure, axes = plt.subplots(figsize=(9, 9))
    fg.draw(model, exact, ax=axes)
    axes.set_title("ALARM given five readings (grey)")
    figure.tight_layout()
    figure.savefig("alarm_network.png", dpi=120)
    print("picture: alarm_network.png")


if __name__ == "__main__":
    main()
