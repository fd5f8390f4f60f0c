"""A hidden Markov chain of five steps, its blocks in colours."""

from style import GREEN, GREY, canvas, factor, line, variable

axes = canvas(6.6, 2.5)
for step in range(5):
    x = 1.5 + 1.1 * step
    line(axes, (x, 1.9), (x, 0.6))
    if step:
        line(axes, (x - 1.1, 1.9), (x, 1.9))
        factor(axes, x - 0.55, 1.9)
    factor(axes, x, 1.25, colour=GREEN)
    variable(axes, x, 1.9, str(step))
    variable(axes, x, 0.6, str(step), GREY)
for y, name in ((1.9, "hidden"), (0.6, "seen"), (1.25, "sights")):
    axes.text(0.1, y, name, va="center", color="black")
axes.text(2.05, 2.12, "steps", ha="center")
