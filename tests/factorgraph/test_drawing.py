"""Pictures of graphs: nothing is over anything else, and what is known is told."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.drawing import graphviz
from factorgraph.drawing.colours import SERIES, shade
from factorgraph.drawing.labels import box_meets_segment, place_labels
from factorgraph.drawing.layout import place
from factorgraph.drawing.scene import scene_of

ALARM = Path(__file__).parents[2] / "examples" / "alarm.bif"

pytest.importorskip("matplotlib").use("Agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def tree() -> fg.FactorGraph:
    rng = np.random.default_rng(1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(["low", "mid", "high"]), 20)
    parents = np.array([rng.integers(max(0, i - 4), i) for i in range(1, 20)])
    graph.add_factors("link", fg.Potts(1.0), x[parents], x[1:])
    graph.set_prior(x, rng.normal(size=(20, 3)))
    graph.observe(x[3], "high")
    return graph


def alarm() -> fg.Model:
    model = fg.read_bif(ALARM)
    model.observe({"BP": "LOW", "HRBP": "HIGH"})
    return model


def chain() -> fg.FactorGraph:
    graph = fg.FactorGraph()
    level = graph.add_variables("level", fg.Gaussian(), 8)
    graph.add_factors("walk", fg.LinearGaussian([1, -1], 0.1), level[1:], level[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1], 0.5, offset=np.arange(8.0)), level)
    return graph


def grid() -> fg.FactorGraph:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (5, 5))
    graph.add_factors("down", fg.Ising(0.4), x[:-1].ravel(), x[1:].ravel())
    graph.add_factors("across", fg.Ising(-0.3), x[:, :-1].ravel(), x[:, 1:].ravel())
    graph.set_prior(x, 0.1)
    graph.observe(x[1, 1], 1)
    return graph


def star() -> fg.FactorGraph:
    graph = fg.FactorGraph()
    centre = graph.add_variables("centre", fg.Spin())
    leaves = graph.add_variables("leaf", fg.Spin(), 12)
    graph.add_factors("arm", fg.Ising(np.linspace(-1.0, 1.0, 12)), centre, leaves)
    graph.set_prior(centre, 1.0)
    return graph


GRAPHS: list[Callable[[], Any]] = [tree, alarm, chain, grid, star]


def result_of(graph: Any) -> Any:
    return fg.exact(graph.graph) if isinstance(graph, fg.Model) else fg.run(graph)


def labels_of(axes: Any) -> list[Any]:
    return [text for text in axes.texts if text.get_visible()]


def collection(axes: Any, name: str) -> Any:
    return next(found for found in axes.collections if found.get_gid() == name)


def points_of(axes: Any, name: str) -> np.ndarray:
    """Points on the outlines or lines of a collection, a pixel apart, in pixels."""
    points = []
    for path in collection(axes, name).get_paths():
        corners = axes.transData.transform(path.to_polygons(closed_only=False)[0])
        for start, end in itertools.pairwise(corners):
            steps = max(2, int(np.linalg.norm(end - start)))
            points.append(start + np.linspace(0.0, 1.0, steps)[:, None] * (end - start))
    return np.concatenate(points)


def assert_nothing_is_over_a_label(axes: Any) -> None:
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in labels_of(axes)]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
    for name in ("edges", "variables", "factors"):
        points = points_of(axes, name)
        for text, box in zip(labels_of(axes), boxes, strict=True):
            inside = (points > box.min).all(axis=1) & (points < box.max).all(axis=1)
            assert not inside.any(), f"{text.get_text()!r} is over {name}"
    legend = axes.get_legend().get_window_extent()
    assert not any(box.overlaps(legend) for box in boxes)


@pytest.mark.parametrize("make", GRAPHS)
def test_labels_meet_no_label_no_node_and_no_line(make: Callable[[], Any]) -> None:
    graph = make()
    axes = fg.draw(graph, result_of(graph))
    assert_nothing_is_over_a_label(axes)
    variables = (graph.graph if isinstance(graph, fg.Model) else graph).num_variables
    assert len(labels_of(axes)) >= 0.9 * variables
    axes.figure.set_size_inches(5.0, 4.0)
    assert_nothing_is_over_a_label(axes)


@pytest.mark.parametrize("make", [alarm, grid])
def test_without_graphviz_there_is_a_picture_too(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphviz.shutil, "which", lambda program: None)
    graph = make()
    axes = fg.draw(graph)
    assert_nothing_is_over_a_label(axes)
    assert len(labels_of(axes)) >= 0.9 * (graph.graph if isinstance(graph, fg.Model) else graph).num_variables


def test_max_marginals_are_not_called_probabilities() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.add_factors("f", fg.Ising(1.0), x[:1], x[1:])
    graph.set_prior(x, 0.3)
    from matplotlib.text import Text

    for result in (fg.run(graph, mode="max"), fg.exact(graph, mode="max")):
        axes = fg.draw(graph, result)
        words = [text.get_text() for text in axes.figure.findobj(Text)]
        assert not any("%" in word or "probability" in word for word in words)
        assert any("max-marginal" in word for word in words)


def test_many_small_blocks_are_refused() -> None:
    graph = fg.FactorGraph()
    for number in range(301):
        graph.add_variables(f"x{number}", fg.Spin())
    with pytest.raises(ValueError, match="301 blocks, and a picture shows at most 300"):
        fg.draw(graph)
    assert len(graph._repr_html_()) < 200_000


def test_a_program_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    edges, rooms = np.array([[0, 1], [1, 2], [2, 0]]), np.ones((3, 2))
    monkeypatch.setattr(graphviz.shutil, "which", lambda program: "/bin/false")
    assert graphviz.place(edges, rooms, True) is None
    monkeypatch.setattr(graphviz.shutil, "which", lambda program: "/bin/echo")  # succeeds, but says nothing useful
    assert graphviz.place(edges, rooms, False) is None


def places_of(graph: fg.FactorGraph) -> np.ndarray:
    scene = scene_of(graph, None, None)
    return place(scene, np.full((len(scene.nodes), 2), 0.5))[0]


def test_a_chain_is_straight_whatever_hangs_on_it() -> None:
    places = places_of(chain())
    assert np.ptp(places[:8, 1]) == 0
    assert (np.diff(places[:8, 0]) > 0).all()
    seen = places[8 + 7 :]
    np.testing.assert_array_equal(seen[:, 0], places[:8, 0])


def test_an_image_is_a_grid() -> None:
    places = places_of(grid())[:25].reshape(5, 5, 2)
    assert np.ptp(places[..., 0], axis=0).max() == 0
    assert np.ptp(places[..., 1], axis=1).max() == 0


def test_the_leaves_of_a_star_are_on_a_circle_and_a_ring_is_one() -> None:
    places = places_of(star())
    radii = np.linalg.norm(places[1:13] - places[0], axis=1)
    np.testing.assert_allclose(radii, radii[0])
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 6)
    graph.add_factors("ring", fg.Ising(1.0), x, x[np.arange(-1, 5)])
    places = places_of(graph)
    radii = np.linalg.norm(places - places.mean(axis=0), axis=1)
    np.testing.assert_allclose(radii, radii[0])


@pytest.mark.parametrize("make", [tree, grid, star, chain])
def test_no_nodes_touch_and_each_layout_is_the_same_twice(make: Callable[[], Any]) -> None:
    places = places_of(make())
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9.0 * np.eye(len(places))
    assert apart.min() > 0.45
    np.testing.assert_array_equal(places, places_of(make()))


def test_components_stand_apart() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 30)
    graph.add_factors("pairs", fg.Ising(1.0), x[:12], x[12:24])
    assert_nothing_is_over_a_label(fg.draw(graph))
    axes = fg.draw(fg.FactorGraph())
    assert not axes.texts


def test_values_have_the_names_of_states_and_numbers_their_deviations() -> None:
    graph = tree()
    words = {text.get_text() for text in labels_of(fg.draw(graph, fg.run(graph)))}
    assert "x[3]\n= high" in words
    model = alarm()
    words = {text.get_text() for text in labels_of(fg.draw(model, result_of(model)))}
    assert {"BP\n= LOW", "HRBP\n= HIGH"} <= words
    assert any(word.startswith("LVFAILURE\nFALSE: ") and word.endswith(" %") for word in words)
    graph = chain()
    result = fg.run(graph)
    mean, variance = result.marginals(graph.variables("level"))[2]
    words = {text.get_text() for text in labels_of(fg.draw(graph, result))}
    assert f"level[2]\n{mean:.3g} ± {variance**0.5:.2g}" in words


def test_names_are_written_as_they_are(tmp_path: Path) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("$x_{$", fg.Categorical(["_a", "$b{$"]), 2)
    graph.add_factors("<f>", fg.Potts(1.0), x[0], x[1])
    axes = fg.draw(graph, fg.run(graph), file=tmp_path / "names.pdf")
    assert any(text.get_text().startswith("$x_{$[0]") for text in labels_of(axes))
    assert len(axes.get_legend().get_texts()) == 4
    axes.figure.savefig(tmp_path / "tight.png", bbox_inches="tight")
    assert_nothing_is_over_a_label(axes)


def test_bars_are_probabilities_and_the_legend_tells_their_colours() -> None:
    graph = tree()
    result = fg.run(graph)
    axes = fg.draw(graph, result)
    bars = collection(axes, "bars")
    heights = np.array([np.ptp(path.vertices[:, 1]) for path in bars.get_paths()]).reshape(20, 3)
    np.testing.assert_allclose(heights / heights.sum(axis=1, keepdims=True), result.marginals(graph.variables("x")), atol=1e-6)
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["variable", "factor", "observed", "probability of low", "mid", "high"]


def test_tiny_circles_have_shades_instead_of_bars() -> None:
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(2, 2))
    graph = tree()
    fg.draw(graph, fg.run(graph), ax=axes)
    assert not any(found.get_gid() == "bars" for found in axes.collections)
    assert len(np.unique(collection(axes, "variables").get_facecolors(), axis=0)) > 10
    assert shade("#0072b2", 0.0) == "#ffffff"
    assert shade("#0072b2", 1.0) == "#0072b2"
    assert len(set(SERIES)) == 7


def many() -> fg.FactorGraph:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (30, 40))
    s = graph.add_variables("s", fg.Categorical(2))
    graph.add_factors("down", fg.Ising(0.3), x[:-1].ravel(), x[1:].ravel())
    graph.add_factors("tie", fg.Table(np.eye(2)), x[0], s)
    graph.observe(x[0], 1)
    return graph


def test_of_large_graphs_the_blocks_are_drawn() -> None:
    graph = many()
    axes = fg.draw(graph, fg.run(graph))
    words = {text.get_text() for text in labels_of(axes)}
    assert "x\n30 x 40 of Spin(), 40 observed" in words
    assert "down\n1,160 of Ising(0.3)" in words
    assert len(collection(axes, "edges").get_paths()) == 4
    assert len(collection(axes, "variables").get_paths()) == 2
    assert_nothing_is_over_a_label(axes)
    small = fg.draw(star(), plates=True)
    assert "leaf\n12 of Spin()" in {text.get_text() for text in labels_of(small)}


def test_single_nodes_of_a_large_graph_are_refused() -> None:
    graph = many()
    with pytest.raises(ValueError, match="the graph has 2401 nodes; a picture shows at most 2000"):
        fg.draw(graph, plates=False)


def test_a_network_of_plates_is_drawn() -> None:
    from nets.network import Network

    axes = fg.draw(Network([20, 11, 3], 30).graph)
    assert len(labels_of(axes)) >= 5
    assert_nothing_is_over_a_label(axes)


def test_a_batch_is_refused() -> None:
    graph = star()
    result = fg.Inference(graph, batch=2).run()
    with pytest.raises(ValueError, match="one set of evidence"):
        fg.draw(graph, result)


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    graph = star()
    axes = fg.draw(graph, file=tmp_path / "star.svg")
    assert axes.figure.get_size_inches().min() > 2
    assert ET.parse(tmp_path / "star.svg").getroot().tag.endswith("svg")
    fg.draw(graph, file=str(tmp_path / "star.png"))
    assert (tmp_path / "star.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf, not"):
        fg.draw(graph, file=tmp_path / "star.doc")
    with pytest.raises(FileNotFoundError):
        fg.draw(graph, file=tmp_path / "absent" / "star.png")
    assert {path.name for path in tmp_path.iterdir()} == {"star.svg", "star.png"}


def test_boxes_and_lines_meet_where_they_share_a_point() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 4, (100, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 2, (100, 2))], axis=1)
    segments = rng.uniform(0, 5, (100, 4))
    t = np.linspace(0, 1, 501)[:, None, None]
    points = segments[None, :, :2] + t * (segments[None, :, 2:] - segments[None, :, :2])
    for box, found in zip(boxes, box_meets_segment(boxes, segments), strict=True):
        inside = ((points >= box[:2]) & (points <= box[2:])).all(axis=-1).any(axis=0)
        assert (inside <= found).all()
        assert (found != inside).sum() <= 1  # corners that are cut between two points


def test_a_label_without_room_is_shortened_and_then_left_out() -> None:
    bounds = np.array([0.0, 0.0, 10.0, 10.0])
    anchor, node = np.array([[5.0, 5.0]]), np.array([[4.0, 4.0, 6.0, 6.0]])
    none, sizes = np.zeros((0, 4)), [np.array([[11.0, 2.0], [3.0, 2.0]])]
    (found,) = place_labels(sizes, anchor, np.array([1.0]), node, none, bounds, 1.0)
    assert found is not None
    assert found.form == 1
    assert place_labels([np.array([[11.0, 2.0]])], anchor, np.array([1.0]), node, none, bounds, 1.0) == [None]


def test_a_run_is_drawn_by_its_residuals_and_what_still_moves() -> None:
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (4, 4))
    graph.add_factors("down", fg.Ising(rng.normal(size=12)), x[:-1].ravel(), x[1:].ravel())
    graph.add_factors("across", fg.Ising(rng.normal(size=12)), x[:, :-1].ravel(), x[:, 1:].ravel())
    graph.set_prior(x, rng.normal(size=(4, 4)))
    with pytest.warns(fg.ConvergenceWarning):
        result = fg.Inference(graph, fg.Flooding()).run(max_iterations=6, tolerance=1e-12, check_every=2)
    left, right = result.plot()
    (curve,) = left.lines
    np.testing.assert_allclose(curve.get_xydata(), np.stack([result.residual_iterations, result.residuals], axis=1))
    assert left.get_yscale() == "log"
    assert left.get_xlabel() == "iteration"
    name, index, change = (result.largest_changes(1)[0][i] for i in (2, 3, 4))
    assert right.get_yticklabels()[0].get_text() == f"{name}[{index[0]},{index[1]}]"
    assert right.lines[0].get_xdata()[0] == pytest.approx(change)
    right.figure.canvas.draw()


def test_an_exact_run_and_a_batch_are_drawn_too() -> None:
    import matplotlib.pyplot as plt

    left, _ = fg.run(star()).plot()
    assert "nothing to iterate" in left.texts[0].get_text()
    _, given = plt.subplots(2, 1)
    graph = grid()
    found = fg.Inference(graph, fg.Flooding(), batch=2).run().plot(given)
    assert found[1] is given[1]
    assert len(found[0].lines) == 1
