"""How a chain is contracted: every second variable goes in each round."""

import itertools

from style import BLUE, GREY, canvas, factor, line, variable

axes = canvas(7.4, 3.0)
left = list(range(9))
for number, y in enumerate((2.6, 1.8, 1.0, 0.3)):
    going = left[1:-1:2]
    axes.text(0.1, y, f"round {number + 1}" if going else "the end", va="center")
    place = {v: 1.3 + 0.72 * v for v in left}
    for a, b in itertools.pairwise(left):
        line(axes, (place[a], y), (place[b], y))
        factor(axes, (place[a] + place[b]) / 2, y, size=0.09)
    for v in left:
        variable(axes, place[v], y, str(v), GREY if v in going else BLUE, 0.17)
    left = [v for v in left if v not in going]
