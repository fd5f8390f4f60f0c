"""The messages of tabulated factors in C++, written out for given numbers of states."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MAX_ENTRIES, _MAX_STATES = 1 << 12, 64  # beyond, a factor no longer fits the registers of a thread
_MAX_WRITTEN_OUT = 512  # entries of a table, or of a part of it, that a kernel names one by one


def table_source(sizes: Sequence[int], fields: Sequence[bool], mode: str) -> str | None:
    """
    Body of a factor's message function, as `Factor.device_messages` describes it.

    One pass over the table gives the messages of all ports: an entry times the weights on its left and on its right. Sums are
    taken of the numbers themselves, weights scaled to 1; a factor with a sum that may have lost terms to underflow is
    done again by logarithms.

    Parameters
    ----------
    sizes : states of each axis of the table
    fields : whether an axis is a spin, whose one parameter is half the log-odds
    mode : {"sum", "max"}

    Returns
    -------
    str, or None for tables too large
    """
    entries = 1
    for size in sizes:
        entries *= size
    if entries > _MAX_ENTRIES or sum(sizes) > _MAX_STATES:
        return None
    axes = range(len(sizes))
    lines, start = [], 0
    for axis, (size, is_field) in enumerate(zip(sizes, fields, strict=True)):
        signed = [f"-in[{start}]", f"in[{start}]"]  # an infinite field is weight 1 for what is certain
        given = (
            [f"{field} == INF ? (T)0 : {field}" for field in signed]
            if is_field
            else [f"in[{start + state}]" for state in range(size)]
        )
        lines += [f"T log{axis}[{size}] = {{{', '.join(given)}}}, found{axis}[{size}];"]
        start += 1 if is_field else size
    by_logarithms = _loops(sizes, _largest(sizes), unroll=mode == "max")
    if mode == "sum":
        by_logarithms += [f"T most{a}[{n}], sum{a}[{n}];" for a, n in enumerate(sizes)]
        by_logarithms += [
            f"for (int i = 0; i < {n}; ++i) {{ most{a}[i] = is_finite(found{a}[i]) ? found{a}[i] : (T)0; sum{a}[i] = 0; }}"
            for a, n in enumerate(sizes)
        ]
        terms = [f"sum{a}[i{a}] += exp({_others(sizes, a, 'log', ' + ')} - most{a}[i{a}]);" for a in axes]
        by_logarithms += _loops(sizes, ["const T entry = table[joint];", *terms], unroll=False)
        by_logarithms += [
            f"for (int i = 0; i < {n}; ++i) found{a}[i] = log(sum{a}[i]) + most{a}[i];" for a, n in enumerate(sizes)
        ]
        for a, n in enumerate(sizes):
            lines += [f"T weight{a}[{n}];", "{ T most = -INF;"]
            lines += [f"for (int i = 0; i < {n}; ++i) most = larger(most, log{a}[i]);"]
            lines += [f"for (int i = 0; i < {n}; ++i) {{ weight{a}[i] = quick_exp(log{a}[i] - most); found{a}[i] = 0; }} }}"]
        terms = [f"found{a}[i{a}] += {_others(sizes, a, 'weight', ' * ')};" for a in axes]
        lines += _loops(sizes, ["const T entry = potentials[joint];", *terms], unroll=True)
        lines += ["T least = INF;"]
        lines += [f"for (int i = 0; i < {n}; ++i) least = smaller(least, found{a}[i]);" for a, n in enumerate(sizes)]
        lines += ["if (least > (T)(sizeof(T) == 4 ? 2.8e-28 : 6.7e-285)) {"]  # smallest normal number / eps^1.5
        lines += [f"for (int i = 0; i < {n}; ++i) found{a}[i] = quick_log(found{a}[i]);" for a, n in enumerate(sizes)]
        lines += ["} else {", *_reset(sizes), *by_logarithms, "}"]
    else:
        lines += [*_reset(sizes), *by_logarithms]
    start = 0
    for axis, (size, is_field) in enumerate(zip(sizes, fields, strict=True)):
        if is_field:
            lines += [f"out[{start}] = (T)0.5 * (found{axis}[1] - found{axis}[0]);"]
        else:
            lines += [f"for (int i = 0; i < {size}; ++i) out[{start} + i] = found{axis}[i];"]
        start += 1 if is_field else size
    return "\n".join(lines)


def _others(sizes: Sequence[int], axis: int, name: str, joined_by: str) -> str:
    """The table's entry joined with the weights of all other axes."""
    return joined_by.join(["entry", *(f"{name}{a}[i{a}]" for a in range(len(sizes)) if a != axis)])


def _largest(sizes: Sequence[int]) -> list[str]:
    terms = [f"found{a}[i{a}] = larger(found{a}[i{a}], {_others(sizes, a, 'log', ' + ')});" for a in range(len(sizes))]
    return ["const T entry = table[joint];", *terms]


def _reset(sizes: Sequence[int]) -> list[str]:
    return [f"for (int i = 0; i < {n}; ++i) found{a}[i] = -INF;" for a, n in enumerate(sizes)]


def _loops(sizes: Sequence[int], body: list[str], unroll: bool) -> list[str]:
    """
    The body for each joint state: counters i0, i1, ..., and their number ``joint`` in C order.

    ``unroll``: write the inner loops out, as many as together are not too long.
    """
    lines = []
    for axis, size in enumerate(sizes):
        if math.prod(sizes[axis:]) > _MAX_WRITTEN_OUT:
            lines += ["#pragma unroll 1"]
        elif unroll:
            lines += ["#pragma unroll"]
        lines += [f"for (int i{axis} = 0; i{axis} < {size}; ++i{axis})"]
    joint = "i0"
    for axis in range(1, len(sizes)):
        joint = f"({joint}) * {sizes[axis]} + i{axis}"
    return [*lines, "{", f"const int joint = {joint};", *body, "}"]
