"""What notebooks show of a fitted network below scikit-learn's own table of its settings."""

from __future__ import annotations

from html import escape
from typing import Any

_CELL = "text-align:left;padding:1px 12px 1px 0"
_NAMES = {
    "train_error": "training error (%)",
    "test_error": "test error, point-wise (%)",
    "test_error_bayes": "test error, Bayesian (%)",
    "test_nll_bayes": "test -log p, Bayesian",
    "train_rmse": "training RMSE",
    "test_rmse": "test RMSE, point-wise",
    "test_rmse_bayes": "test RMSE, Bayesian",
}


def facts_of(model: Any) -> list[tuple[str, str]]:
    """
    What a fit found, as pairs of a name and a text: network, settings that were chosen, time, and the last errors.

    Parameters
    ----------
    model : BPClassifier or BPRegressor
        Without a fit there is nothing to tell: an empty list.
    """
    if not hasattr(model, "weight_beliefs_"):
        return []
    weights = sum(
        int(mask.sum()) if mask is not None else belief.shape[-1] * belief.shape[-2]
        for belief, mask in zip(model.weight_beliefs_, model.masks_, strict=True)
    )
    facts = [("network", f"{model._architecture}, {weights:,} weights")]
    if hasattr(model, "classes_"):
        shown = ", ".join(map(str, model.classes_[:10])) + (", ..." if len(model.classes_) > 10 else "")
        facts.append((f"{len(model.classes_)} classes", shown))
    facts.append(("chosen settings", ", ".join(f"{name}={value!r}" for name, value in model.settings_.items())))
    facts.append(("epochs", str(model.n_iter_)))
    if model.history_:
        facts.append(("seconds of training", f"{sum(row['seconds'] for row in model.history_):.2f}"))
        last = model.history_[-1]
        facts += [(text, f"{last[name]:.4g}") for name, text in _NAMES.items() if name in last]
    if model.real_output:
        facts.append(("standard deviation of the noise", ", ".join(f"{variance**0.5:.4g}" for variance in model.noise_)))
    return facts


def fitted_html(model: Any) -> str:
    """The same as a table; empty before a fit."""
    rows = "".join(
        f"<tr><th style='{_CELL};white-space:nowrap'>{escape(name)}</th><td style='{_CELL}'>{escape(text)}</td></tr>"
        for name, text in facts_of(model)
        if text
    )
    return f"<table>{rows}</table>" if rows else ""
