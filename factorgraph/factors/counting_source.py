"""The messages of counting factors in C++, written out for a number of spins and of states of the count."""

from __future__ import annotations

from factorgraph.factors.base import DeviceMessages

_MAX_KEPT = 256  # partial sums that a thread keeps; beyond, a factor no longer fits its registers and cache


def counting_source(width: int, states: int, has_output: bool, mode: str) -> DeviceMessages:
    """
    Body of a factor's message function, which always holds, as `Factor.device_messages` describes it; None for large factors.

    From the left the log-weights of each count of the spins before are kept; from the right comes what a count means for all
    spins that follow, with the potential at its end. The last of the states stands for that many or more.
    """
    if width * states > _MAX_KEPT:
        return None
    add = "{2} = larger({0}, {1});" if mode == "max" else "log_add_exp({0}, {1}, {2});"
    last = states - 1
    potential = "counts[s]"
    output = ""
    if has_output:
        potential = "with_output"
        output = f"""
        T falses = -INF, trues = -INF;
        for (int s = 0; s < {states}; ++s) {{
            {add.format("falses", f"left[{width}][s] + counts[s]", "falses")}
            {add.format("trues", f"left[{width}][s] + counts[{states} + s]", "trues")}
        }}
        out[{width}] = (T)0.5 * (trues - falses);
        """
    weights = [f"select(({field}) == INF, (T)0, {field})" for field in ("-output", "output")]
    both = add.format(f"counts[s] + {weights[0]}", f"counts[{states} + s] + {weights[1]}", "with_output")
    joined = f"T with_output; const T output = in[{width}]; {both}"
    body = f"""
    T left[{width + 1}][{states}], right[{states}], here[2];
    for (int s = 0; s < {states}; ++s) left[0][s] = s == 0 ? (T)0 : -INF;
    for (int i = 0; i < {width}; ++i) {{
        const T field = in[i] * literals[i];
        here[0] = select(-field == INF, (T)0, -field), here[1] = select(field == INF, (T)0, field);
        for (int s = 0; s < {states}; ++s) {{
            left[i + 1][s] = left[i][s] + here[0];
            if (s > 0) {{ {add.format("left[i + 1][s]", "left[i][s - 1] + here[1]", "left[i + 1][s]")} }}
            if (s == {last}) {{ {add.format("left[i + 1][s]", "left[i][s] + here[1]", "left[i + 1][s]")} }}
        }}
    }}
    {output}
    for (int s = 0; s < {states}; ++s) {{
        {joined if has_output else ""}
        right[s] = {potential};
    }}
    for (int i = {width} - 1; i >= 0; --i) {{
        const T field = in[i] * literals[i];
        here[0] = select(-field == INF, (T)0, -field), here[1] = select(field == INF, (T)0, field);
        T falses = -INF, trues = -INF;
        for (int s = 0; s < {states}; ++s) {{
            {add.format("falses", "left[i][s] + right[s]", "falses")}
            {add.format("trues", f"left[i][s] + right[s < {last} ? s + 1 : s]", "trues")}
        }}
        out[i] = (T)0.5 * (trues - falses) * literals[i];
        for (int s = 0; s < {states}; ++s) {{
            {add.format("right[s] + here[0]", f"right[s < {last} ? s + 1 : s] + here[1]", "right[s]")}
        }}
    }}
    """
    return body, ""
