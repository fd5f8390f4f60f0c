"""
A graph that no machine holds whole
===================================

A spin glass lives on a grid that is cut into stripes, one for each process (rank). Each rank makes the couplings of its own
rows. The first row of the next stripe is shared with the rank that holds it: both give its spins the same numbers, and belief
propagation adds up what the couplings of both ranks say of them. Run it on two ranks, or without ``mpiexec`` on one::

    mpiexec -n 2 python examples/many_ranks.py
"""

from __future__ import annotations

import numpy as np

import factorgraph as fg

SIDE = 60


def stripe(ranks: fg.Communicator) -> tuple[fg.FactorGraph, dict[fg.Variables, np.ndarray]]:
    """The graph of this rank's rows, and the numbers of the spins that other ranks have too."""
    first, last = SIDE * ranks.rank // ranks.size, SIDE * (ranks.rank + 1) // ranks.size
    rows = np.arange(first, min(last + 1, SIDE))  # its own, and the one below them
    graph = fg.FactorGraph()
    spins = graph.add_variables("spins", fg.Spin(), (len(rows), SIDE))
    couplings = {row: np.random.default_rng(row).normal(scale=0.4, size=(2, SIDE)) for row in rows}
    for row in range(first, last):  # whichever rank has a row, its couplings are the same
        here = row - first
        graph.add_factors(f"across {row}", fg.Ising(couplings[row][0, :-1]), spins[here, :-1], spins[here, 1:])
        if row + 1 < SIDE:
            graph.add_factors(f"down {row}", fg.Ising(couplings[row][1]), spins[here], spins[here + 1])
    graph.set_prior(spins, 0.1)
    shared = {spins[row - first]: row * SIDE + np.arange(SIDE) for row in {first, last} & set(rows.tolist())}
    return graph, shared


def main() -> None:
    ranks = fg.get_communicator("auto")
    graph, shared = stripe(ranks)
    inference = fg.Inference(graph, fg.Flooding(), damping=0.3, communicator=ranks, shared=shared)
    result = inference.run(tolerance=1e-8)
    log_partition = result.log_partition  # of all ranks together: all ask for it
    magnetisation = float(result.mean(graph.variables("spins")[0]).mean())
    each = ranks.gather((graph.num_factors, magnetisation))
    own = SIDE * (ranks.rank + 1) // ranks.size - SIDE * ranks.rank // ranks.size
    rows = ranks.gather(result.mean(graph.variables("spins"))[:own])
    if ranks.rank == 0:
        print(
            f"{ranks.size} ranks with {[factors for factors, _ in each]} couplings: {result.status} after {result.iterations}"
        )
        print(f"log Z = {log_partition:.6f}; mean spin of each rank's first row {[round(mean, 4) for _, mean in each]}")
        draw(np.concatenate(rows), ranks.size)


def draw(means: np.ndarray, stripes: int) -> None:
    """The mean of each spin, and where one rank's rows end."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    figure, axes = plt.subplots(figsize=(5, 4.2))
    shown = axes.imshow(means, cmap="coolwarm", vmin=-1, vmax=1)
    for rank in range(1, stripes):
        axes.axhline(SIDE * rank // stripes - 0.5, color="black")
    figure.colorbar(shown, label="mean of a spin")
    axes.set(xlabel="column", ylabel="row", title="A spin glass in stripes")
    figure.savefig("many_ranks.png", dpi=120)
    print("picture: many_ranks.png")


if __name__ == "__main__":
    main()
