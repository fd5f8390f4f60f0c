"""One neuron of a layer on two patterns, as a factor graph."""

from style import BLUE, GREEN, GREY, canvas, factor, line, variable

axes = canvas(6.8, 3.6)
weights = [(2.5, 3.1), (3.4, 3.1), (4.3, 3.1)]
for pattern, (left, direction) in enumerate(((1.7, -1), (5.1, 1)), start=1):
    neuron = (left, 1.7)
    output = (left + direction * 1.3, 1.7)
    for i, weight in enumerate(weights):
        entry = (left + 0.75 * (i - 1), 0.6)
        line(axes, weight, neuron)
        line(axes, entry, neuron)
        variable(axes, *entry, f"$x_{{{i + 1}{pattern}}}$", GREY, 0.26)
    line(axes, neuron, output)
    factor(axes, *neuron)
    variable(axes, *output, f"$y_{{1{pattern}}}$", GREEN, 0.26)
    axes.text(left, 0.12, f"pattern {pattern}", ha="center", va="center")
for i, weight in enumerate(weights):
    variable(axes, *weight, f"$W_{{1{i + 1}}}$", BLUE, 0.3)
