"""The kernel of a step's calls: for each factor and set of evidence cavities in, messages out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from factorgraph.backends.kernels import unroll
from factorgraph.factors.bound import BoundFactor
from factorgraph.variables import VariableType

MOST_STATES = 32
"""That a loop is written out for."""

_MANY_NUMBERS = 64  # of a factor, beyond which a group has fewer lanes
_MOST_EDGES = 16  # of a port, for which a GPU's loop over them is written out


def edge_source(bound: BoundFactor, bodies: Sequence[str], ports: Sequence[int], parameters: Sequence[str]) -> str:
    """
    Give the text of a kernel ``edge_update`` that gathers, works out messages, normalises and damps them, and writes them.

    Parameters
    ----------
    bound : the factor type and its ports
    bodies : from `BoundFactor.device_messages`
    ports : those whose messages are written
    parameters : names that the bodies use
    """
    sizes = [math.prod(kind.param_shape) for kind in bound.types]
    starts = np.cumsum([0, *(w * q for w, q in zip(bound.widths, sizes, strict=True))]).tolist()
    number = number_of_parameters(bound)
    lanes = "LANES" if number <= _MANY_NUMBERS else "FEW_LANES"
    takes, gathers, writes = ["int count", "int factors", "int sets", "const int *which"], [], []
    for port, (width, start, kind) in enumerate(zip(bound.widths, starts, bound.types, strict=False)):
        takes += _port_arguments(port, port in ports)
        gathers += [_gather(port, width, start, kind, lanes)]
        writes += [_write(port, width, start, kind, lanes)] if port in ports else []
    for name in parameters:
        takes += [f"const T *{name}_at", f"int {name}_step", f"int {name}_by_factor"]
    functions, calls = [], []
    for form, body in enumerate(bodies):
        if body:
            is_quick = form + 1 < len(bodies)
            functions += [_function(f"messages{form}", body, parameters, is_quick)]
            call = _quick_call if is_quick else _call
            calls += [call(f"messages{form}", number, parameters, lanes, form > 0)]
    return f"""{bound.factor.device_source}{"".join(functions)}
KERNEL edge_update({", ".join(takes)}) {{
EACH_GROUP(group, count, {lanes}) {{
/* known */
LANES_OF_SETS({lanes})
T in[{number}][{lanes}], out[{number}][{lanes}], was[{number}][{lanes}];
bool holds[{lanes}];
{chr(10).join([*gathers, *calls, *writes])}
}}
}}
"""


def number_of_parameters(bound: BoundFactor) -> int:
    """Natural parameters of all messages to one factor."""
    return sum(width * math.prod(kind.param_shape) for width, kind in zip(bound.widths, bound.types, strict=True))


def _port_arguments(port: int, written: bool) -> list[str]:
    takes = [f"const T *total{port}", f"int total_step{port}", f"{'' if written else 'const '}T *message{port}"]
    takes += [f"int message_step{port}", f"const int *places{port}", f"int first_place{port}"]
    takes += [f"const int *edges{port}", f"int first_edge{port}"]
    if written:
        takes += [f"T step{port}", f"const T *steps{port}", f"int by_edge{port}", f"int by_set{port}"]
        takes += [f"int hold{port}", f"T *change{port}"]
    return takes


_LANE = "const int b = SET_OF(lane), f = ENTRY_OF(lane);\n(void)b;"


def _each_edge(port: int, width: int, lanes: str) -> str:
    """The head of loops over a port's edges and over lanes."""
    return f"""{"WRITTEN_OUT" if width <= _MOST_EDGES else ""}
for (int j = 0; j < {width}; ++j) EACH_LANE(lane, group, count, {lanes}) {{
{_LANE}
const int i = j * factors + f;
const long long e = (long long)(edges{port} ? edges{port}[i] : first_edge{port} + i) * sets + b;"""


def _each_state(kind: VariableType) -> str:
    size = math.prod(kind.param_shape)
    return f"{unroll(size, MOST_STATES)}\nfor (int s = 0; s < {size}; ++s)"


def _gather(port: int, width: int, start: int, kind: VariableType, lanes: str) -> str:
    return f"""{_each_edge(port, width, lanes)}
const long long v = (long long)(places{port} ? places{port}[i] : first_place{port} + i) * sets + b;
{_each_state(kind)} {{
const int k = {start} + j * {math.prod(kind.param_shape)} + s;
was[k][lane] = message{port}[(long long)s * message_step{port} + e];
in[k][lane] = total{port}[(long long)s * total_step{port} + v] - was[k][lane];
}}
}}"""


def _write(port: int, width: int, start: int, kind: VariableType, lanes: str) -> str:
    size = math.prod(kind.param_shape)
    return f"""{_each_edge(port, width, lanes)}
const int first = {start} + j * {size};
T value[{size}];
{_each_state(kind)} value[s] = out[first + s][lane];
{{ {kind.device_normalize()} }}
const T step = steps{port} ? steps{port}[by_edge{port} * (e / sets) + by_set{port} * b] : step{port};
T farthest = 0;
{_each_state(kind)} {{
if (hold{port}) hold(value[s], value[s]);
const T old = was[first + s][lane], gone = value[s] - old, size = fabs(gone);
message{port}[(long long)s * message_step{port} + e] = step == 1 ? value[s] : old + step * gone;
farthest = size == size ? larger(farthest, size) : INF;
}}
if (change{port}) change{port}[e] = larger(change{port}[e], farthest);
}}"""


def _function(name: str, body: str, parameters: Sequence[str], is_quick: bool) -> str:
    """A body of `Factor.device_messages` as a function; a quick one takes several factors at once."""
    number, flag, entries = ("Lanes", "Flags", "LaneEntries") if is_quick else ("T", "bool", "Entries")
    takes = [f"const {number} *in", f"{number} *out", f"{flag} &holds", *(f"const {entries} {name}" for name in parameters)]
    return f"DEVICE void {name}({', '.join(takes)}) {{\ntypedef {number} T;\n{body}\n}}\n"


def _each_number(number: int) -> str:
    return f"{unroll(number, 2 * MOST_STATES)}\nfor (int k = 0; k < {number}; ++k)"


def _quick_call(name: str, number: int, parameters: Sequence[str], lanes: str, again: bool) -> str:
    given = ["heard", "said", "good"]
    given += [f"entries_of({name}_at, {name}_step, of, {name}_by_factor, in_order, all_alike)" for name in parameters]
    return f"""EACH_REGISTER(lane, group, count, {lanes}) {{
int of[WIDTH];
bool in_order = true, all_alike = true;
for (int i = 0; i < WIDTH; ++i) {{
const int at = group + lane + i < count ? lane + i : lane, f = ENTRY_OF(at);
of[i] = which ? which[f] : f;
in_order = in_order && of[i] == of[0] + i;
all_alike = all_alike && of[i] == of[0];
}}
Lanes heard[{number}], said[{number}];
Flags good = true;
{_each_number(number)} load(heard[k], in[k] + lane);
{name}({", ".join(given)});
{_each_number(number)} store(out[k] + lane, said[k]);
store(holds + lane, good);
}}"""


def _call(name: str, number: int, parameters: Sequence[str], lanes: str, again: bool) -> str:
    """Factor by factor; ``again``: only those for which a quick body did not hold."""
    given = ["heard", "said", "good", *(f"Entries{{{name}_at + g * {name}_by_factor, {name}_step}}" for name in parameters)]
    return f"""{"LANE_BY_LANE" if again else "EACH_LANE"}(lane, group, count, {lanes}) {{
{"if (holds[lane]) continue;" if again else ""}
{_LANE}
const int g = which ? which[f] : f;
(void)g;
T heard[{number}], said[{number}];
bool good = true;
{_each_number(number)} heard[k] = in[k][lane];
{name}({", ".join(given)});
{_each_number(number)} out[k][lane] = said[k];
}}"""
