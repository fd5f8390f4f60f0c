"""A training run as one HTML file that needs no other files: pictures, figures, settings, versions."""

from __future__ import annotations

import base64
import importlib.util
import io
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph import __version__
from factorgraph.files import write_text
from nets import plots
from nets.datasets import Dataset
from nets.settings import plain_settings
from nets.table_files import named

_MOST_CLASSES = 30  # that are counted one by one
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "matplotlib")
_METRICS = {  # what `evaluate` gives
    "test_error": ("test error", "%", 2),
    "nll": ("-log p of a row", "nats", 3),
    "ece": ("calibration error", "%", 2),
    "rmse": ("root mean square error", "", 4),
    "coverage": ("within the central nine tenths", "%", 1),
}

Rows = Sequence[tuple[str, str]]


def require_matplotlib() -> None:
    """
    Refuse a report that could not be drawn, before training rather than after it.

    Raises
    ------
    ValueError
        matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError('--report draws with matplotlib, which is not installed: pip install "factorgraph-nets[plot]"')


def write_report(
    path: str | Path, model: Any, data: Dataset, command: Sequence[str] = (), started: datetime | None = None
) -> None:
    """
    Write a report of a training run. The file is written completely or not at all.

    Parameters
    ----------
    path : file
    model : BPClassifier or BPRegressor
        A fitted model. Curves of test rows need validation data.
    data : Dataset
        The data set of the training. Predictions are judged on its test rows.
    command : sequence of str, optional
        The command that repeats the run, word by word.
    started : datetime, optional
        When training began, with its time zone.
    """
    write_text(path, report_of(model, data, command, started))


def report_of(model: Any, data: Dataset, command: Sequence[str] = (), started: datetime | None = None) -> str:
    """The page that `write_report` writes."""
    X = named(data.X_test, data.features)
    scores = model.evaluate(X, data.y_test)
    title = f"{data.name}: {model._architecture}"
    summary = _cards(model, data, scores)
    sections = [
        _section("Training", _pictures(_of_training(model))),
        _section("Predictions of the test rows", _scores(scores) + _pictures(_of_predictions(model, X, data.y_test))),
        '<div class="pictures">',
        _section("Data", _table(_data(data, model))),
        _section("Times and versions", _table([*_times(model, started), *_versions(model)])),
        "</div>",
        _section("Settings", _table(_settings(model))),
    ]
    if command:
        line = escape(shlex.join(command))
        sections.append(_section("To repeat the run", f"<pre>{line}</pre>"))
    return _PAGE.format(title=escape(title), style=_STYLE, summary=summary, sections="\n".join(sections))


Picture = tuple[str, Callable[[Any], None]]


def _of_training(model: Any) -> list[Picture]:
    found: list[Picture] = [("Error after each epoch", lambda axes: plots.plot_error(axes, model.history_))]
    if model.history_ and "test_nll" in model.history_[0]:
        found.append(("Negative log-likelihood of the test rows", lambda axes: plots.plot_loss(axes, model.history_)))
    return [*found, ("Weights of each layer", lambda axes: plots.plot_weights(axes, model))]


def _of_predictions(model: Any, X: Any, y: np.ndarray) -> list[Picture]:
    if model.real_output:
        targets, mean, deviation = plots.predicted_numbers(model, X, y)
        return [
            ("Predicted and true numbers", lambda axes: plots.plot_predictions(axes, targets, mean, deviation)),
            ("Coverage of intervals", lambda axes: plots.plot_coverage(axes, targets, mean, deviation)),
        ]
    chances, labels = plots.predicted_classes(model, X, y)
    return [
        ("Reliability", lambda axes: plots.plot_reliability(axes, chances, labels)),
        ("Confusion matrix: rows of each class", lambda axes: plots.plot_confusion(axes, chances, labels, model.classes_)),
    ]


def _pictures(pictures: Sequence[Picture]) -> str:
    return '<div class="pictures">' + "".join(_picture(title, draw) for title, draw in pictures) + "</div>"


def _picture(title: str, draw: Callable[[Any], None]) -> str:
    """SVG as data of an image, so that names inside it meet those of no other picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.7), layout="constrained")
    draw(figure.subplots())
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><img alt="{escape(title)}" '
        f'src="data:image/svg+xml;base64,{data}"></figure>'
    )


def _cards(model: Any, data: Dataset, scores: Mapping[str, float]) -> str:
    """The few numbers that one looks for first."""
    first = "rmse" if model.real_output else "test_error"
    own = "_bayes" if model.prediction == "bayesian" else ""
    kind = "Bayesian" if own else "point-wise"
    name, unit, digits = _METRICS[first]
    cards = [(f"{name}, {kind}", f"{scores[first + own]:.{digits}f} {unit}")]
    second = "coverage" if model.real_output else "ece"
    name, unit, digits = _METRICS[second]
    cards.append((name, f"{scores[second + own]:.{digits}f} {unit}"))
    cards.append(("epochs", str(model.n_iter_) + (f" of {model.epochs}" if model.n_iter_ < model.epochs else "")))
    cards.append(("training", _duration(sum(row["seconds"] for row in model.history_))))
    cards.append(("rows, training + test", f"{len(data.X_train):,} + {len(data.X_test):,}"))
    return "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in cards)


def _scores(scores: Mapping[str, float]) -> str:
    rows = ["<tr><th></th><th>point-wise</th><th>Bayesian</th></tr>"]
    for key, (name, unit, digits) in _METRICS.items():
        if key in scores:
            cells = "".join(f"<td>{scores[key + suffix]:.{digits}f}</td>" for suffix in ("", "_bayes"))
            rows.append(f"<tr><th>{escape(name + (f' ({unit})' if unit else ''))}</th>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _data(data: Dataset, model: Any) -> Rows:
    rows = [
        ("name", data.name),
        ("training rows", f"{len(data.X_train):,}"),
        ("test rows", f"{len(data.X_test):,}"),
        ("features", f"{data.X_train.shape[1]:,}" + (f": {', '.join(data.features)}" if data.features else "")),
    ]
    if model.real_output:
        y = np.asarray(data.y_train, dtype=np.float64)
        return [
            *rows,
            ("training targets", f"from {y.min():.6g} to {y.max():.6g}, mean {y.mean():.6g}, deviation {y.std():.4g}"),
        ]
    counts = {name: [int(np.sum(y == name)) for y in (data.y_train, data.y_test)] for name in model.classes_[:_MOST_CLASSES]}
    rows.append(("classes", f"{len(model.classes_):,}"))
    rows += [(f"class {name}", f"{train:,} training and {test:,} test rows") for name, (train, test) in counts.items()]
    return rows


def _settings(model: Any) -> Rows:
    """As they were given, and what was chosen where they were left open."""
    rows = [("estimator", type(model).__name__), ("network", str(model._architecture))]
    for name, value in plain_settings(model).items():
        if name in ("verbose", "communicator"):
            continue
        chosen = model.settings_.get(name, value) if value in (None, "auto") else value
        rows.append((name, f"{value!r}" if chosen == value else f"{chosen!r} (chosen)"))
    if model.real_output:
        rows.append(("deviation of the noise, learnt", ", ".join(f"{variance**0.5:.4g}" for variance in model.noise_)))
    return rows


def _times(model: Any, started: datetime | None) -> Rows:
    seconds = [row["seconds"] for row in model.history_]
    rows = [("training", _duration(sum(seconds))), ("an epoch, on average", _duration(sum(seconds) / max(1, len(seconds))))]
    if started is None:
        return rows
    return [("begun", _moment(started)), ("this report", _moment(datetime.now(started.tzinfo))), *rows]


def _moment(time: datetime) -> str:
    return time.isoformat(" ", "seconds")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 600 else str(timedelta(seconds=round(seconds)))
    )


def _versions(model: Any) -> Rows:
    from importlib.metadata import version

    rows = [("factorgraph-nets", __version__), ("Python", platform.python_version())]
    rows += [(library, version(library)) for library in _LIBRARIES]
    return [*rows, ("backend", str(model.backend or "numpy")), ("system", platform.platform()), ("processor", _processor())]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _table(rows: Rows) -> str:
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table class="facts">{body}</table></div>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --page: #fafafa; --card: #ffffff; --line: #d8d8d8; --soft: #5c5c5c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --page: #16181b; --card: #202327; --line: #3a3f45; --soft: #a8a8a8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; font: 1rem/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.5rem; margin: 0.3rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.6rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.6rem; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.6rem 0.8rem; }
.cards b { display: block; font-size: 1.25rem; }
.cards span { color: var(--soft); font-size: 0.85rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0.8rem; }
figure { margin: 0; background: #ffffff; color: #1c1c1c; border: 1px solid var(--line); border-radius: 0.5rem;
  padding: 0.6rem; }
figcaption { font-weight: 600; font-size: 0.9rem; margin-bottom: 0.3rem; }
img { display: block; width: 100%; max-width: 34rem; margin: 0 auto; height: auto; }
.wide { overflow-x: auto; margin-bottom: 0.8rem; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-weight: 500; color: var(--soft); }
.facts th { white-space: nowrap; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.7rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="cards">{summary}</div>
{sections}
</body>
</html>
"""
