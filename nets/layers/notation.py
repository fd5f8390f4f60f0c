"""Layers as words, for the shell, and as dictionaries, for files."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from nets.layers.base import Layer
from nets.layers.convolution import Convolution
from nets.layers.dense import Dense
from nets.layers.pool import Pool

_KINDS: dict[str, type[Layer]] = {kind.__name__: kind for kind in (Dense, Convolution, Pool)}
_CONVOLUTION = re.compile(r"([0-9]{1,9})c([0-9]{1,9})(?:s([0-9]{1,9}))?(?:p([0-9]{1,9}))?(r?)")
_RESIDUAL = 0.5


def parse_layer(word: str) -> Layer:
    """
    Return the layer that a word describes.

    ``501`` is a dense layer of 501 units. ``32c5s2p1`` has 32 filters of 5 x 5 with stride 2 and padding 1. ``pool2`` is a pool
    of size 2. ``501r`` and ``32c3p1r`` have a residual connection, ``skip=0.5``.

    Raises
    ------
    ValueError
        The word describes no layer.

    Examples
    --------
    >>> parse_layer("32c5s2") == Convolution(32, 5, stride=2)
    True
    """
    if match := re.fullmatch(r"([0-9]{1,9})(r?)", word):
        return Dense(int(match[1]), skip=_RESIDUAL if match[2] else 0.0)
    if match := re.fullmatch(r"pool([0-9]{1,9})", word):
        return Pool(int(match[1]))
    if match := _CONVOLUTION.fullmatch(word):
        channels, size, stride, padding, residual = match.groups()
        skip = _RESIDUAL if residual else 0.0
        return Convolution(int(channels), int(size), int(stride or 1), int(padding or 0), skip=skip)
    raise ValueError(
        f"{word!r} names no layer: write for example 501 (units), 32c5s2p1 (filters, size, stride, padding), pool2, or 501r"
    )


def layer_of(value: Any) -> Layer:
    """
    Return a layer, given a layer, a number of units, a word, or a dictionary of `layer_as_dict`.

    Raises
    ------
    ValueError
        The value is none of these.
    """
    if isinstance(value, Layer):
        return value
    if isinstance(value, str):
        return parse_layer(value)
    if isinstance(value, dict) and value.get("kind") in _KINDS:
        try:
            return _KINDS[value["kind"]](**{name: one for name, one in value.items() if name != "kind"})
        except TypeError as error:
            raise ValueError(f"{value!r} is not a layer: {error}") from error
    if hasattr(value, "__index__") and not isinstance(value, bool):
        return Dense(int(value))
    raise ValueError(f"{value!r} is not a layer: give a number of units, nets.Dense, nets.Convolution, nets.Pool, or a word")


def layer_as_dict(layer: Layer) -> dict[str, Any]:
    """A layer as a dictionary that JSON can hold."""
    return {"kind": type(layer).__name__, **asdict(layer)}  # type: ignore[call-overload]
