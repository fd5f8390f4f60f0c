"""The arrays of a pool: beliefs by variable, messages by edge, and which messages a belief adds up."""

import matplotlib.pyplot as plt
from style import BLUE, GREEN, ORANGE, canvas, line

axes = canvas(7.4, 2.9)
edges = [("steps, port 0", range(0, 4), ORANGE), ("steps, port 1", range(1, 5), ORANGE), ("sights, port 0", range(5), GREEN)]
cell, left = 0.42, 1.35


def box(x, y, text, colour):
    axes.add_patch(plt.Rectangle((x, y), cell, cell, facecolor=colour, edgecolor="black", zorder=2))
    axes.text(x + cell / 2, y + cell / 2, text, ha="center", va="center", zorder=3)


beliefs = [left + 1.8 + cell * v for v in range(5)]
for v, x in enumerate(beliefs):
    box(x, 2.2, str(v), BLUE)
position = left
for name, places, colour in edges:
    axes.text(position + cell * len(places) / 2, 0.3, name, ha="center", va="center")
    for v in places:
        box(position, 0.6, str(v), colour)
        if v == 2:
            line(axes, (position + cell / 2, 0.6 + cell), (beliefs[2] + cell / 2, 2.2), color="black")
        position += cell
axes.text(0.1, 2.2 + cell / 2, "beliefs", va="center")
axes.text(0.1, 0.6 + cell / 2, "messages", va="center")
axes.text(beliefs[-1] + 0.8, 2.2 + cell / 2, "The belief of variable 2\nadds up three messages.", va="center", fontsize=9)
