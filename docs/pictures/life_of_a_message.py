"""The stations of a message, from the evidence that causes it to the marginals that it changes."""

import matplotlib.pyplot as plt
from style import BLUE, GREEN, GREY, ORANGE, canvas

axes = canvas(7.6, 4.3)


def box(x, y, width, title, place, colour):
    axes.add_patch(plt.Rectangle((x, y), width, 0.74, facecolor=colour, edgecolor="black", zorder=2))
    axes.text(x + width / 2, y + 0.49, title, ha="center", va="center", zorder=3, fontsize=9)
    axes.text(x + width / 2, y + 0.2, place, ha="center", va="center", zorder=3, fontsize=7, family="monospace")


def arrow(start, end):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 1.3}, zorder=1)


box(0.1, 3.4, 2.2, "observe", "inference/conditions.py", GREY)
box(2.7, 3.4, 2.2, "evidence on the device", "state/evidence.py", BLUE)
box(5.3, 3.4, 2.2, "belief is certain", "PoolState.refresh", BLUE)
box(5.3, 2.1, 2.2, "cavity is gathered", "PoolState.cavities", BLUE)
box(2.7, 2.1, 2.2, "factor answers", "BoundFactor.messages", ORANGE)
box(0.1, 2.1, 2.2, "damped and written", "PoolState.write", BLUE)
box(0.1, 0.8, 2.2, "neighbour's belief", "PoolState.refresh", BLUE)
box(2.7, 0.8, 2.2, "residual, next round", "control/running.py", GREEN)
box(5.3, 0.8, 2.2, "marginals", "answers/result.py", GREY)
arrows = (
    ((2.3, 3.77), (2.7, 3.77)),
    ((4.9, 3.77), (5.3, 3.77)),
    ((6.4, 3.4), (6.4, 2.84)),
    ((5.3, 2.47), (4.9, 2.47)),
    ((2.7, 2.47), (2.3, 2.47)),
    ((1.2, 2.1), (1.2, 1.54)),
    ((2.3, 1.17), (2.7, 1.17)),
    ((4.9, 1.17), (5.3, 1.17)),
)
for start, end in arrows:
    arrow(start, end)
arrow((3.8, 1.54), (5.6, 2.1))
note = "On a GPU, the middle row is one kernel for each call of the plan, and the sums below it are another."
axes.text(0.1, 0.3, note, fontsize=8)
