"""What happens to the beliefs about the weights of one layer while a mini-batch is learnt."""

import matplotlib.pyplot as plt
from style import BLUE, GREEN, GREY, ORANGE, canvas

axes = canvas(7.6, 3.2)


def box(x, y, title, text, colour):
    axes.add_patch(plt.Rectangle((x, y), 2.1, 0.8, facecolor=colour, edgecolor="black", zorder=2))
    axes.text(x + 1.05, y + 0.54, title, ha="center", va="center", zorder=3, fontsize=9)
    axes.text(x + 1.05, y + 0.22, text, ha="center", va="center", zorder=3, fontsize=7.5)


def arrow(start, end):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 1.3}, zorder=1)


box(0.1, 2.2, "posterior as prior", r"$\theta = \rho H$", BLUE)
box(2.75, 2.2, "observe", "rows and labels", GREY)
box(5.4, 2.2, "forward, layer by layer", r"$\omega, V \rightarrow B^{up}$", ORANGE)
box(5.4, 0.5, "backward, layer by layer", r"$g, \Gamma \rightarrow$ fields", ORANGE)
box(2.75, 0.5, "fields to the weights", r"$H = \theta + \sum_a g\,x$", BLUE)
box(0.1, 0.5, "damped means", r"$m = \psi m + (1 - \psi) \tanh H$", GREEN)
for start, end in (((2.2, 2.6), (2.75, 2.6)), ((4.85, 2.6), (5.4, 2.6)), ((6.45, 2.2), (6.45, 1.3)),
                   ((5.4, 0.9), (4.85, 0.9)), ((2.75, 0.9), (2.2, 0.9)), ((1.15, 1.3), (1.15, 2.2))):  # fmt: skip
    arrow(start, end)
axes.text(1.3, 1.75, "the next mini-batch", va="center", fontsize=8)
