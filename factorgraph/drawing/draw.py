"""`draw`: a graph as a picture of its nodes, or of its blocks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.drawing.layout import place
from factorgraph.drawing.paint import extent, legend_of, paint
from factorgraph.drawing.scene import Scene, plates_of, scene_of
from factorgraph.drawing.shapes import rooms_of
from factorgraph.files import write_bytes
from factorgraph.graph import FactorGraph
from factorgraph.io import Model

FORMATS = ("svg", "png", "pdf")
MOST_NODES = 2000  # of a picture of single nodes
_FEW_NODES = 300  # up to which single nodes are drawn unless plates are asked for
_UNIT = 46.0  # points of an edge in a new figure
_DPI = 150  # of pictures in files
_SMALLEST, _LARGEST = (4.2, 2.4), (13.0, 11.0)  # inches


def draw(
    graph: FactorGraph | Model,
    result: Any = None,
    *,
    ax: Any = None,
    seed: int = 0,
    plates: bool | None = None,
    file: str | Path | None = None,
) -> Any:
    """
    Draw a graph: variables as circles and factors as squares, with the beliefs of a result. Large graphs show only their
    blocks.

    Chains are drawn straight, images as grids, and trees in layers or rings. The layout of other graphs comes from Graphviz if
    it is installed, else from networkx. Needs matplotlib: ``pip install "factorgraph-nets[plot]"``.

    Parameters
    ----------
    graph : FactorGraph or Model
        Variables and states of a model have the names of its file.
    result : Result or ExactResult, optional
        Beliefs to show. A variable with states has bars for their probabilities, and the name of the most probable state. A
        real variable has its mean and standard deviation. Observed variables are grey with a thick rim. If circles are too
        small for bars, they have the colour of the most probable state, which is paler if the state is less certain. For a
        block that is drawn as one plate, the bars are the mean over its variables.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure of a suitable size.
    seed : int, default 0
        Seed for layouts that begin at random places.
    plates : bool, optional
        Whether each block is one node, with its size. Default: True if there are more than 300 variables and factors.
    file : path, optional
        Write the figure to this file, completely or not at all. The name must end in .svg, .png or .pdf.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        The graph has more than 2000 nodes, and they are to be drawn one by one; the result is of a batch; or the name of the
        file ends in something else.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), 4)
    >>> _ = graph.add_factors("pairs", fg.Ising(1.0), x[:-1], x[1:])
    >>> axes = fg.draw(graph, fg.run(graph), file="chain.svg")  # doctest: +SKIP
    """
    ending = None if file is None else Path(file).suffix.lower().removeprefix(".")
    if ending is not None and ending not in FORMATS:
        raise ValueError(f"a picture's name must end in one of {', '.join('.' + name for name in FORMATS)}, not {str(file)!r}")
    scene = _scene(graph, result, plates)
    rooms = rooms_of(scene, _UNIT)
    places, paths = place(scene, rooms, seed)
    if ax is None:
        ax = _new_axes(scene, places, paths, rooms, shown=file is None)
    paint(ax, scene, places, paths, rooms)
    if file is not None:
        picture = io.BytesIO()
        ax.figure.savefig(picture, format=ending, dpi=_DPI)
        write_bytes(file, picture.getvalue())
    return ax


def _scene(graph: FactorGraph | Model, result: Any, plates: bool | None) -> Scene:
    model = graph if isinstance(graph, Model) else None
    structure = graph.graph if isinstance(graph, Model) else graph
    number = structure.num_variables + structure.num_factors
    if plates or (plates is None and number > _FEW_NODES):
        return plates_of(structure, result)
    if number > MOST_NODES:
        raise ValueError(
            f"the graph has {number} nodes; a picture shows at most {MOST_NODES} of them one by one: try plates=True"
        )
    return scene_of(structure, model, result)


def _new_axes(scene: Scene, places: np.ndarray, paths: list[np.ndarray], rooms: np.ndarray, shown: bool) -> Any:
    """
    Axes of a figure in which an edge is about `_UNIT` long. A figure that is only written to a file is kept out of pyplot.
    """
    low, high = extent(places, paths, rooms)
    wanted = (high - low) * _UNIT / 72 + (0.0, 0.25 + 0.2 * (len(legend_of(scene)) > 0))
    size = np.clip(wanted / min(1.0, 1.6 * min(np.array(_LARGEST) / wanted)), _SMALLEST, _LARGEST)
    if shown:
        import matplotlib.pyplot as plt

        figure: Any = plt.figure(figsize=tuple(size))
    else:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=tuple(size), dpi=_DPI)
        FigureCanvasAgg(figure)  # which keeps what measures its texts
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=1 - 0.25 / size[1])
    return figure.add_subplot()
