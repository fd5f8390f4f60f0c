"""The messages of tabulated factors in C++, written out for given numbers of states."""

from __future__ import annotations

import math
from collections.abc import Sequence

from factorgraph.backends.kernels import unroll
from factorgraph.factors.base import DeviceMessages

_MAX_ENTRIES, _MAX_STATES = 1 << 12, 64  # beyond, a factor no longer fits the registers of a thread
_MAX_WRITTEN_OUT = 512  # entries of a table, or of a part of it, that a kernel names one by one


def table_source(sizes: Sequence[int], fields: Sequence[bool], mode: str) -> DeviceMessages:
    """
    Bodies of a factor's message function, as `Factor.device_messages` describes it.

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
    given, results, start = [], [], 0
    for a, (size, is_field) in enumerate(zip(sizes, fields, strict=True)):
        if is_field:  # an infinite field is weight 1 for what is certain
            of_states = [f"select({field} == INF, (T)0, {field})" for field in (f"-in[{start}]", f"in[{start}]")]
            results += [f"out[{start}] = (T)0.5 * (found{a}[1] - found{a}[0]);"]
        else:
            of_states = [f"in[{start + state}]" for state in range(size)]
            results += [f"{_each(size)} out[{start} + i] = found{a}[i];"]
        given += [f"T log{a}[{size}] = {{{', '.join(of_states)}}}, found{a}[{size}];"]
        start += 1 if is_field else size
    largest = [f"found{a}[i{a}] = larger(found{a}[i{a}], {_others(sizes, a, 'log', ' + ')});" for a in axes]
    by_logarithms = [f"{_each(n)} found{a}[i] = -INF;" for a, n in enumerate(sizes)]
    by_logarithms += _loops(sizes, ["const T entry = table[joint];", *largest], unroll=mode == "max")
    if mode == "max":
        return "\n".join([*given, *by_logarithms, *results]), ""
    for a, n in enumerate(sizes):
        by_logarithms += [f"T most{a}[{n}], sum{a}[{n}];"]
        by_logarithms += [f"{_each(n)} {{ most{a}[i] = is_finite(found{a}[i]) ? found{a}[i] : (T)0; sum{a}[i] = 0; }}"]
    terms = [f"sum{a}[i{a}] += exp({_others(sizes, a, 'log', ' + ')} - most{a}[i{a}]);" for a in axes]
    by_logarithms += _loops(sizes, ["const T entry = table[joint];", *terms], unroll=False)
    by_logarithms += [f"{_each(n)} found{a}[i] = log(sum{a}[i]) + most{a}[i];" for a, n in enumerate(sizes)]
    quick = []
    for a, n in enumerate(sizes):
        quick += [f"T weight{a}[{n}], most{a} = -INF;", f"{_each(n)} most{a} = larger(most{a}, log{a}[i]);"]
        quick += [f"{_each(n)} {{ weight{a}[i] = quick_exp(log{a}[i] - most{a}); found{a}[i] = 0; }}"]
    terms = [f"found{a}[i{a}] += {_others(sizes, a, 'weight', ' * ')};" for a in axes]
    quick += _loops(sizes, ["const T entry = potentials[joint];", *terms], unroll=True)
    quick += ["T least = INF;", *(f"{_each(n)} least = smaller(least, found{a}[i]);" for a, n in enumerate(sizes))]
    quick += ["holds = least > (T)(IS_SINGLE ? 2.8e-28 : 6.7e-285);"]  # smallest normal number / eps^1.5
    quick += [f"{_each(n)} found{a}[i] = quick_log(found{a}[i]);" for a, n in enumerate(sizes)]
    return "\n".join([*given, *quick, *results]), "\n".join([*given, *by_logarithms, *results])


def _each(size: int) -> str:
    """The head of a loop over the states of an axis."""
    return f"{unroll(size, _MAX_STATES)}\nfor (int i = 0; i < {size}; ++i)"


def _others(sizes: Sequence[int], axis: int, name: str, joined_by: str) -> str:
    """The table's entry joined with the weights of all other axes."""
    return joined_by.join(["entry", *(f"{name}{a}[i{a}]" for a in range(len(sizes)) if a != axis)])


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
            lines += ["#pragma unroll" if math.prod(sizes[axis:]) <= 128 else f"#pragma unroll {size}"]
        lines += [f"for (int i{axis} = 0; i{axis} < {size}; ++i{axis})"]
    joint = "i0"
    for axis in range(1, len(sizes)):
        joint = f"({joint}) * {sizes[axis]} + i{axis}"
    return [*lines, "{", f"const int joint = {joint};", *body, "}"]
