"""A small factor graph, and the two messages on one of its edges."""

from style import arrow, canvas, factor, line, variable

axes = canvas(6.4, 2.6)
places = {"$u$": (1.0, 1.3), "$v$": (3.4, 1.3), "$w$": (5.6, 1.3)}
factors = {"$a$": (2.2, 1.3), "$b$": (4.5, 1.3), "$d$": (3.4, 0.45)}
for start, end in (("$u$", "$a$"), ("$v$", "$a$"), ("$v$", "$b$"), ("$w$", "$b$"), ("$v$", "$d$")):
    line(axes, places[start], factors[end])
for name, (x, y) in places.items():
    variable(axes, x, y, name)
for name, (x, y) in factors.items():
    factor(axes, x, y, name)
arrow(axes, (2.35, 1.62), (3.2, 1.62), r"$m_{a \to v}$", "#D55E00", (0, 0.22))
arrow(axes, (4.4, 1.62), (3.6, 1.62), r"$m_{b \to v}$", "#D55E00", (0, 0.22))
arrow(axes, (3.62, 0.55), (3.62, 1.05), r"$m_{d \to v}$", "#D55E00", (0.42, 0))
arrow(axes, (1.2, 1.0), (2.0, 1.0), r"$c_{u \to a}$", "#0072B2", (0, -0.2))
arrow(axes, (3.15, 1.0), (2.4, 1.0), r"$c_{v \to a}$", "#0072B2", (0, -0.22))
axes.text(0.1, 2.35, "messages of factors", color="#D55E00", va="center")
axes.text(2.3, 2.35, "cavities of variables", color="#0072B2", va="center")
