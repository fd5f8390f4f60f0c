"""Pictures of experiments: our figures and the published ones."""

from __future__ import annotations

from typing import Any

from factorgraph.drawing.colours import BLUE, ORANGE, SERIES
from nets.experiments.base import Case, Experiment, summary


def draw(experiment: Experiment, results: dict[str, Any], path: str) -> None:
    """
    Draw each metric of an experiment: curves where its cases lie on an axis, else a row for each case.

    Parameters
    ----------
    experiment, results : as `reproduce` took and gave them
    path : of the picture; its ending tells the format

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found: dict[str, list[dict[str, float]]] = {}
    for key, run in results["runs"].items():
        found.setdefault(key.rpartition(", seed ")[0], []).append(run["metrics"])
    cases = [case for case in experiment.cases if case.label in found]
    metrics = list(found[cases[0].label][0])
    metrics = [name for name in metrics if any(name in case.published for case in cases)] or metrics
    height = 4.5 if experiment.axis else 0.3 * len(cases) + 2.0
    figure, axes = plt.subplots(1, len(metrics), figsize=(4.5 * len(metrics), height), squeeze=False, layout="constrained")
    for axes_of_metric, name in zip(axes[0], metrics, strict=True):
        ours = {case.label: summary([values[name] for values in found[case.label]]) for case in cases}
        published = {case.label: case.published[name] for case in cases if name in case.published}
        (_curves if experiment.axis else _rows)(axes_of_metric, cases, ours, published)
        axes_of_metric.set_title(f"{name} ({experiment.unit})")
        axes_of_metric.set_xlabel(experiment.axis)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(metrics), frameon=False)
    figure.suptitle(f"{experiment.title}, {results['epochs']} epochs (published: {experiment.full_epochs})")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curves(
    axes: Any, cases: list[Case], ours: dict[str, tuple[float, float]], published: dict[str, tuple[float, float]]
) -> None:
    for number, curve in enumerate(dict.fromkeys(case.curve for case in cases)):
        own = [case for case in cases if case.curve == curve]
        for values, style, label in ((ours, "o-", "ours"), (published, "s:", "published")):
            there = [case for case in own if case.label in values]
            means, errors = ([values[case.label][part] for case in there] for part in (0, 1))
            places = [case.x for case in there]
            hollow = {"markerfacecolor": "none"} if values is published else {}
            axes.errorbar(
                places,
                means,
                errors,
                fmt=style,
                color=SERIES[number % len(SERIES)],
                capsize=2,
                label=f"{curve}, {label}",
                **hollow,
            )


def _rows(
    axes: Any, cases: list[Case], ours: dict[str, tuple[float, float]], published: dict[str, tuple[float, float]]
) -> None:
    for values, marker, colour, label in ((ours, "o", BLUE, "ours"), (published, "s", ORANGE, "published")):
        places = [place for place, case in enumerate(cases) if case.label in values]
        means, errors = ([values[cases[place].label][part] for place in places] for part in (0, 1))
        axes.errorbar(means, places, xerr=errors, fmt=marker, color=colour, capsize=2, label=label, markerfacecolor="none")
    axes.set_yticks(range(len(cases)), [case.label for case in cases])
