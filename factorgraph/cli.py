"""Command line: ``factorgraph infer``, ``factorgraph info``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.backends import BackendUnavailableError, backend_names
from factorgraph.files import told
from factorgraph.inference import ContradictionError, ConvergenceWarning, Inference
from factorgraph.io import Model, read_model, read_uai_evidence, write_uai_result
from factorgraph.io.uai import format_uai_result
from factorgraph.junction import JunctionTree, TooLargeError, exact, exact_size
from factorgraph.junction.junction_tree import is_wide_forest
from factorgraph.schedules import Flooding, RandomOrder, Residual, Schedule, Sweep, Tree
from factorgraph.variables import DiscreteType

_SCHEDULES: dict[str, type[Schedule]] = {
    "flooding": Flooding,
    "tree": Tree,
    "sweep": Sweep,
    "residual": Residual,
    "random": RandomOrder,
}
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return 0, 1 (failed, or not converged with --strict), 2 (wrong usage) or 130 (interrupted)."""
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except (ValueError, TypeError, OSError, MemoryError, BackendUnavailableError) as error:
        print(f"factorgraph: {told(error) or 'out of memory'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("factorgraph: interrupted", file=sys.stderr)
        return _INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="factorgraph", description="Belief propagation and exact answers for models in files."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    model_help = "a .uai, .erg, .bif, .xmlbif, .net, .fg, .alist, .cnf or .wcnf file, or one of these with .gz after it"

    infer = commands.add_parser(
        "infer",
        help="find marginals, the partition function, or the most probable state",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    infer.add_argument("model", metavar="MODEL", help=model_help)
    infer.add_argument("--evidence", metavar="FILE", help="file with evidence in the UAI format; several sets run as one batch")
    infer.add_argument("--encoding", metavar="NAME", help="the model file's encoding, if not UTF-8")
    infer.add_argument(
        "--task",
        type=str.upper,
        choices=("MAR", "PR", "MAP"),
        default="MAR",
        help="what to find: marginals (MAR), the partition function (PR) or the most probable state (MAP)",
    )
    infer.add_argument("--exact", action="store_true", help="find exact answers by a junction tree")
    infer.add_argument(
        "--schedule",
        choices=sorted(_SCHEDULES),
        help="schedule of belief propagation (default: tree on a forest, else flooding)",
    )
    infer.add_argument(
        "--damping", type=_damping, default="auto", metavar="auto|NUMBER", help="fraction of the old message that is kept"
    )
    infer.add_argument("--max-iterations", type=_positive, default=1000, metavar="N", help="largest number of iterations")
    infer.add_argument("--tolerance", type=float, default=1e-6, help="largest change of a message at convergence")
    infer.add_argument("--backend", choices=backend_names(), default="numpy", help="array library")
    infer.add_argument("--output", metavar="FILE", help="write the answer to this file in the UAI format; default: print it")
    infer.add_argument("--strict", action="store_true", help="fail if belief propagation does not converge")
    infer.set_defaults(run=_infer)

    info = commands.add_parser("info", help="show sizes, degrees, and the memory that exact answers would need")
    info.add_argument("model", metavar="MODEL", help=model_help)
    info.add_argument("--evidence", metavar="FILE", help="evidence in the UAI format")
    info.add_argument("--encoding", metavar="NAME", help="the model file's encoding, if not UTF-8")
    info.set_defaults(run=_info)
    return parser


def _damping(text: str) -> float | str:
    if text == "auto":
        return text
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and below 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _load(options: argparse.Namespace) -> tuple[Model, list[dict[int, int]]]:
    """The model and the sets of evidence."""
    model = read_model(options.model, options.encoding)
    sets = read_uai_evidence(options.evidence, model) if options.evidence else [{}]
    if len(sets) == 1:
        model.observe(sets[0])
    return model, sets


def _infer(options: argparse.Namespace) -> int:
    model, sets = _load(options)
    if options.exact:
        answers, converged = _exact_answers(options, model, sets), True
    else:
        answers, converged = _bp_answers(options, model, sets)
    answer = answers[0] if len(sets) == 1 else answers
    if options.output:
        write_uai_result(options.output, options.task, answer)
    else:
        print("\n".join(format_uai_result(options.task, answer)))
    if options.strict and not converged:
        print("factorgraph: belief propagation did not converge; try --schedule residual, or --exact", file=sys.stderr)
        return 1
    return 0


def _exact_answers(options: argparse.Namespace, model: Model, sets: list[dict[int, int]]) -> list[Any]:
    """The answers for each set of evidence, by a junction tree."""
    mode = "max" if options.task == "MAP" else "sum"
    if len(sets) > 1 and not is_wide_forest(model.graph):
        try:
            return _exact_batch(options.task, model, sets, mode)
        except TooLargeError:  # no order is good for all sets; each may have one
            pass
    answers = []
    for number, evidence in enumerate(sets, start=1):
        model.observe(evidence)
        try:
            answers.append(_answer(options.task, model, exact(model.graph, mode=mode)))
        except ContradictionError as error:
            raise ValueError(f"evidence set {number}: {error}" if len(sets) > 1 else str(error)) from None
        for variable in evidence:
            model.graph.unobserve(model[variable])
    print("exact", file=sys.stderr)
    return answers


def _exact_batch(task: str, model: Model, sets: list[dict[int, int]], mode: str) -> list[Any]:
    """The answers for several sets of evidence, by one junction tree."""
    tree = JunctionTree(model.graph, mode=mode, batch=len(sets))
    for number, evidence in enumerate(sets):
        model.observe(evidence, tree, sets=number)
    try:
        result: Any = tree.run()
    except ContradictionError as error:
        result = error.result
    for number, found in enumerate(result.contradictions, start=1):
        if found:
            raise ValueError(f"evidence set {number}: the evidence contradicts the model: no state is possible")
    print("exact", file=sys.stderr)
    return _by_set(task, _answer(task, model, result), len(sets))


def _bp_answers(options: argparse.Namespace, model: Model, sets: list[dict[int, int]]) -> tuple[list[Any], bool]:
    """The answers for each set of evidence by belief propagation, and whether all converged. Several sets are one batch."""
    schedule = None if options.schedule is None else _SCHEDULES[options.schedule]()
    mode = "max" if options.task == "MAP" else "sum"
    batch = len(sets) if len(sets) > 1 else None
    inference = Inference(model.graph, schedule, backend=options.backend, mode=mode, damping=options.damping, batch=batch)
    for number, evidence in enumerate(sets if batch else []):
        model.observe(evidence, inference, sets=number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result: Any = inference.run(options.max_iterations, options.tolerance)
    if batch is None:
        last = f", last residual {result.residuals[-1]:.2g}" if result.residuals else ""
        print(f"{result.status} after {result.iterations} iteration{'s' * (result.iterations != 1)}{last}", file=sys.stderr)
        return [_answer(options.task, model, result)], result.converged
    counts = ", ".join(f"{result.status.count(status)} {status}" for status in sorted(set(result.status)))
    print(f"{batch} sets of evidence, {counts} after at most {max(result.iterations)} iterations", file=sys.stderr)
    return _by_set(options.task, _answer(options.task, model, result), batch), bool(np.all(result.converged))


def _by_set(task: str, answers: Any, batch: int) -> list[Any]:
    """The answers of a batch set by set."""
    return [[marginals[number] for marginals in answers] for number in range(batch)] if task == "MAR" else list(answers)


def _answer(task: str, model: Model, result: Any) -> Any:
    if task == "MAR":
        return model.marginals(result)
    return result.log_partition if task == "PR" else model.mode(result)


def _info(options: argparse.Namespace) -> int:
    model, sets = _load(options)
    if len(sets) > 1:
        raise ValueError(f"{options.evidence}: the file has {len(sets)} sets of evidence; give a file with one")
    graph = model.graph
    _, factor = graph.edges()
    widths = np.bincount(factor - graph.num_variables, minlength=max(graph.num_factors, 1))
    variable, _ = graph.edges()
    degrees = np.bincount(variable, minlength=graph.num_variables)
    states = [len(b.type.states) for b in graph.variable_blocks.values() if isinstance(b.type, DiscreteType)]
    observed = sum(int(b.observed.sum()) for b in graph.variable_blocks.values() if b.observed is not None)
    rows = [
        ("variables", f"{graph.num_variables:,} ({observed:,} observed), of {_span(states)} states"),
        ("factors", f"{graph.num_factors:,}, of {_span(widths)} variables"),
        ("edges", f"{graph.num_edges:,}; degrees of variables {_span(degrees)}, on average {degrees.mean():.3g}"),
        ("components", f"{graph.components()[0]:,}"),
        ("forest", "yes: belief propagation is exact" if graph.is_forest else "no: it has cycles"),
    ]
    try:
        size = exact_size(graph)
        rows.append(("width", f"at most {size.width} (largest clique {size.largest_clique:.3g} joint states)"))
        entries = f"{size.memory / 2**20:,.1f} MiB of memory, {size.total_entries:.3g} joint states in all"
        rows.append(("exact answers", entries))
    except TooLargeError as error:
        rows.append(("exact answers", str(error)))
    for name, text in rows:
        print(f"{name + ':':15}{text}")
    return 0


def _span(values: Sequence[int] | np.ndarray) -> str:
    low, high = int(min(values, default=0)), int(max(values, default=0))
    return str(low) if low == high else f"{low} to {high}"


if __name__ == "__main__":
    sys.exit(main())
