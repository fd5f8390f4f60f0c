"""A run that swings, as the page on convergence has it."""

import warnings

import numpy as np

import factorgraph as fg

graph = fg.FactorGraph()
x = graph.add_variables("x", fg.Spin(), shape=(20,))
left, right = np.triu_indices(20, 1)
graph.add_factors("pairs", fg.Ising(-0.5), x[left], x[right])
graph.set_prior(x, np.linspace(-0.2, 0.2, 20))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", fg.ConvergenceWarning)
    fg.run(graph, max_iterations=200).plot()
