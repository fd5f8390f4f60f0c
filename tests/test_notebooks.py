"""What a notebook shows of graphs, results and networks."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets import BPClassifier, BPRegressor

CELLS = {
    "graph": """
import numpy as np
import factorgraph as fg
graph = fg.FactorGraph()
x = graph.add_variables("x", fg.Categorical(["dry", "wet"]), 4)
graph.add_factors("pairs", fg.Potts(0.5), x[:-1], x[1:])
graph.set_prior(x[0], np.log([0.9, 0.1]))
graph.observe(x[3], "wet")
graph
""",
    "result": "fg.run(graph)",
    "exact": "fg.exact(graph)",
    "classifier": """
from nets import BPClassifier
X = np.random.default_rng(0).normal(size=(200, 3))
BPClassifier((11,), epochs=2, random_state=0).fit(X, np.where(X[:, 0] > 0, "up", "down"))
""",
}


@pytest.fixture(scope="session")
def shown() -> dict[str, str]:
    """The HTML that each cell of a notebook shows."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS.values()])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    found = {}
    for name, cell in zip(CELLS, notebook.cells, strict=True):
        (output,) = (output for output in cell.outputs if output.output_type == "execute_result")
        found[name] = "".join(output.data["text/html"])
        assert "text/plain" in output.data
    return found


def test_a_notebook_shows_a_picture_of_a_graph_and_its_blocks(shown: dict[str, str]) -> None:
    html = shown["graph"]
    assert "FactorGraph: 4 variables, 3 factors" in html
    picture = ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
    words = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"x[0]", "x[1]", "x[2]", "x[3]", "= wet", "pairs"} <= words
    assert "3 factors on x[3], x[3]" in html


@pytest.mark.parametrize("name", ["result", "exact"])
def test_a_notebook_shows_how_a_run_ended_and_the_first_beliefs(name: str, shown: dict[str, str]) -> None:
    html = shown[name]
    assert "exact after 1 iteration" in html or "ExactResult" in html
    log = float(re.findall(r"log-partition (-?[\d.]+)", html)[0])
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(["dry", "wet"]), 4)
    graph.add_factors("pairs", fg.Potts(0.5), x[:-1], x[1:])
    graph.set_prior(x[0], np.log([0.9, 0.1]))
    graph.observe(x[3], "wet")
    exact = fg.exact(graph)
    assert log == pytest.approx(exact.log_partition, rel=1e-5)
    chances = [float(number) for number in re.findall(r"</span>([\d.]+)</span>", html)]
    np.testing.assert_allclose(np.reshape(chances, (4, 2)), exact.marginals(x), atol=6e-4)
    assert html.count("observed") == 1


def test_a_notebook_shows_what_a_fit_found(shown: dict[str, str]) -> None:
    html = shown["classifier"]
    assert "hidden_layer_sizes" in html  # scikit-learn's own
    for words in ("3-11-1", "down, up", "training error (%)", "method=", "seconds of training"):
        assert words in html
    assert "-11-" not in BPClassifier((11,))._repr_html_()


def test_a_regressor_tells_its_noise() -> None:
    X = np.random.default_rng(0).normal(size=(100, 2))
    model = BPRegressor((5,), epochs=2, random_state=0).fit(X, X[:, 0])
    for html in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert "standard deviation of the noise" in html
        assert f"{model.noise_[0] ** 0.5:.4g}" in html


def html_of(thing: Any) -> str:
    html = thing._repr_html_()
    ET.fromstring(f"<div>{html}</div>".replace("&emsp;", " "))  # every tag is closed
    return html


def test_large_graphs_and_other_results_are_shown_too() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x<y", fg.Gaussian(), 100)
    graph.add_factors("walk", fg.LinearGaussian([1, -1], 0.1), x[1:], x[:-1])
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 1.0))
    assert ">99<" in html_of(graph)
    assert "x&lt;y[1]" in html_of(fg.run(graph))
    assert "± 1" in html_of(fg.exact(graph))
    assert "and 88 more variables" in html_of(fg.run(graph))
    assert "10 sets" in html_of(fg.Inference(graph, batch=10).run())
    assert html_of(fg.FactorGraph()).count("svg") == 0


def test_a_contradiction_is_told() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.add_factors("equal", fg.Equality(), x[0], x[1])
    graph.observe(x, [1, -1])
    with pytest.raises(fg.ContradictionError) as caught:
        fg.run(graph).marginals(x)
    assert "The evidence contradicts the model" in html_of(caught.value.result)


def test_a_network_is_shown_without_its_free_energy() -> None:
    from nets.network import Network

    network = Network([8, 5, 1], 10)
    assert "svg" in html_of(network.graph)
