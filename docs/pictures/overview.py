"""
The picture on the first page and in README, out of pictures of the gallery and a graph with its beliefs.

    make docs && .venv/bin/python docs/pictures/overview.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

DOCS = Path(__file__).parents[1]


def weather() -> tuple[fg.FactorGraph, fg.Result]:
    """A hidden Markov chain of five days, on three of which somebody carried an umbrella or did not."""
    graph = fg.FactorGraph()
    day = graph.add_variables("day", fg.Categorical(["dry", "wet"]), 5)
    umbrella = graph.add_variables("umbrella", fg.Categorical(["none", "some"]), 5)
    graph.add_factors("next", fg.Table(np.log([[0.8, 0.2], [0.3, 0.7]])), day[:-1], day[1:])
    graph.add_factors("seen", fg.Table(np.log([[0.9, 0.1], [0.2, 0.8]])), day, umbrella)
    graph.observe(umbrella[[0, 2, 4]], ["some", "none", "some"])
    return graph, fg.run(graph)


def main() -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 6), layout="constrained", gridspec_kw={"height_ratios": (1, 1)})
    fg.draw(*weather(), ax=axes[0, 0])
    axes[0, 0].set_title("Beliefs about five days, three of them observed")
    for place, name, title in (
        (axes[0, 1], "image_denoising", "Belief propagation restores an image"),
        (axes[1, 0], "event_rates", "The rate of rare events"),
        (axes[1, 1], "convolution", "Filters of a network with weights of one bit"),
    ):
        picture = plt.imread(DOCS / "gallery" / "images" / f"sphx_glr_{name}_001.png")
        place.imshow(picture[22:] if name == "convolution" else picture, interpolation="lanczos")
        place.set_title(title)
        place.set_axis_off()
    figure.savefig(DOCS / "_static" / "overview.png", dpi=110, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
