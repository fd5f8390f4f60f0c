"""Files: what we write we read back, and what is malformed is refused with its line."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import factorgraph as fg
from factorgraph import cli
from factorgraph.cli import main
from factorgraph.testing import Enumeration
from tests.factorgraph.sample_files import ALIST, BIF, CNF, FG, FILES, UAI


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


Put = Callable[[str, str], Path]


class TestUai:
    def test_a_model(self, put: Put) -> None:
        model = fg.read_uai(put("m.uai", UAI))
        assert len(model) == 3
        assert [model.type_of(v) for v in range(3)] == [fg.Categorical(2), fg.Categorical(2), fg.Categorical(3)]
        joint = np.einsum(
            "a,ab,bc->abc", [0.436, 0.564], [[0.128, 0.872], [0.92, 0.08]], [[0.21, 0.333, 0.457], [0.811, 0, 0.189]]
        )
        result = fg.run(model.graph)
        assert result.log_partition == pytest.approx(np.log(joint.sum()))
        for v, marginal in enumerate(model.marginals(result)):
            np.testing.assert_allclose(marginal, joint.sum(axis=tuple(a for a in range(3) if a != v)) / joint.sum())

    def test_a_bayes_model_and_a_constant(self, put: Put) -> None:
        model = fg.read_uai(put("m.uai", "BAYES\n2\n2 2\n3\n1 0\n2 0 1\n0\n2\n.2 .8\n4\n.1 .9 .5 .5\n1\n7.0\n"))
        assert fg.run(model.graph).log_partition == pytest.approx(np.log(7.0))

    @pytest.mark.parametrize("seed", range(3))
    def test_what_is_written_is_read_back(self, seed: int, tmp_path: Path) -> None:
        rng = np.random.default_rng(seed)
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), (2, 3))
        c = graph.add_variables("c", fg.Categorical(3), 2)
        graph.set_prior(x, rng.normal(size=(2, 3)))
        graph.add_factors("pairs", fg.Ising(rng.normal(size=3)), x[0], x[1])
        graph.add_factors("check", fg.Parity(), x[0][None])
        graph.add_factors("mixed", fg.Table(rng.normal(size=(2, 3))), x[0, :2], c)
        fg.write_uai(tmp_path / "m.uai", graph)
        model = fg.read_uai(tmp_path / "m.uai")
        before, after = fg.exact(graph), fg.exact(model.graph)
        assert after.log_partition == pytest.approx(before.log_partition, abs=1e-12)
        np.testing.assert_allclose(model.marginals(after)[:6], before.marginals(x).reshape(6, 2), atol=1e-13)
        np.testing.assert_allclose(model.marginals(after)[6:], before.marginals(c), atol=1e-13)
        fg.write_uai(tmp_path / "again.uai", model)
        again = fg.read_uai(tmp_path / "again.uai")
        for a, b in zip(model.marginals(after), again.marginals(fg.exact(again.graph)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0", [{}]),
            ("1\n0\n", [{}]),
            ("2 0 1 2 2", [{0: 1, 2: 2}]),
            ("1\n2 0 1 2 2", [{0: 1, 2: 2}]),
            ("2\n1 0 1\n2 0 0 2 1\n", [{0: 1}, {0: 0, 2: 1}]),
        ],
    )
    def test_evidence_in_both_forms(self, put: Put, text: str, expected: list[dict[int, int]]) -> None:
        model = fg.read_uai(put("m.uai", UAI))
        assert fg.read_uai_evidence(put("m.evid", text), model) == expected

    @pytest.mark.parametrize("text", ["", "1 0 5", "1 9 0", "2 0 1 0 0", "x", "3 0 1", "1 -1 0", "1 0 1 7"])
    def test_malformed_evidence_is_refused(self, put: Put, text: str) -> None:
        model = fg.read_uai(put("m.uai", UAI))
        with pytest.raises(fg.FileFormatError, match=r"m\.evid, line 1"):
            fg.read_uai_evidence(put("m.evid", text), model)

    def test_results_are_read_back(self, tmp_path: Path) -> None:
        path = tmp_path / "m.MAR"
        marginals = [np.array([0.1, 0.9]), np.array([0.2, 0.3, 0.5])]
        fg.write_uai_result(path, "MAR", marginals)
        task, found = fg.read_uai_result(path)
        assert task == "MAR"
        for a, b in zip(found, marginals, strict=True):
            np.testing.assert_array_equal(a, b)
        fg.write_uai_result(path, "PR", -12.5)
        assert fg.read_uai_result(path) == ("PR", pytest.approx(-12.5))
        assert path.read_text().split() == ["PR", repr(-12.5 / math.log(10))]
        fg.write_uai_result(path, "MAP", [1, 0, 2])
        assert fg.read_uai_result(path)[1].tolist() == [1, 0, 2]
        fg.write_uai_evidence(path, {3: 1, 0: 2})
        assert fg.read_uai_evidence(path) == [{3: 1, 0: 2}]

    def test_a_potential_that_the_format_cannot_hold_is_refused(self, tmp_path: Path) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 2)
        graph.add_factors("f", fg.Ising(1000.0), *x)
        with pytest.raises(ValueError, match="too large or too small"):
            fg.write_uai(tmp_path / "m.uai", graph)
        assert not list(tmp_path.iterdir())

    def test_variables_without_states_are_refused(self, tmp_path: Path) -> None:
        graph = fg.FactorGraph()
        graph.add_variables("x", fg.Gaussian(), 2)
        with pytest.raises(TypeError, match="no states to write"):
            fg.write_uai(tmp_path / "m.uai", graph)


def test_a_bayesian_network(put: Put) -> None:
    model = fg.read_bif(put("m.bif", BIF))
    assert model.names == ["coin", "weather", "mood"]
    assert model.states == [["heads", "tails"], ["dry", "rain", "snow"], ["good", "bad"]]
    result = fg.run(model.graph)
    assert result.log_partition == pytest.approx(0.0, abs=1e-12)
    good = 0.3 * (0.5 * 0.9 + 0.5 * 0.5) + 0.7 * (0.75 * 0.5 + 0.25 * 0.0)
    np.testing.assert_allclose(result.marginals(model["mood"]), [good, 1 - good])
    model.observe({"mood": "good", "weather": "dry"})
    result = fg.run(model.graph)
    np.testing.assert_allclose(result.marginals(model["coin"]), np.array([0.27, 0.35]) / 0.62)
    with pytest.raises(ValueError, match="'hail' is not a state of variable 'weather'"):
        model.observe({"coin": "heads", "weather": "hail"})
    with pytest.raises(KeyError, match="no variable 'sea'"):
        model.observe({"sea": "calm"})
    model = fg.read_bif(put("m.bif", BIF.replace("table 0.3, 0.7", "table 0.3 0.7")))
    assert fg.run(model.graph).log_partition == pytest.approx(0.0, abs=1e-12)


def test_a_bif_table_listed_at_once(put: Put) -> None:
    text = "variable a { type discrete [ 2 ] { x, y }; } variable b { type discrete [ 3 ] { u, v, w }; }\n"
    text += "probability ( a ) { table 0.5 0.5; }\nprobability ( b | a ) { table 0.1 0.2 0.3 0.3 0.6 0.5; }\n"
    model = fg.read_bif(put("m.bif", text))
    np.testing.assert_allclose(fg.run(model.graph).marginals(model["b"]), [0.15, 0.3, 0.55])


def test_a_libdai_model(put: Put) -> None:
    model = fg.read_libdai(put("m.fg", FG))
    assert model.names == ["3", "7"]
    joint = np.array([[0.5, 0.0, 0.0], [1.5, 2.0, 0.25]]) * [1, 2, 3]  # the first variable's states change fastest
    result = fg.run(model.graph)
    assert result.log_partition == pytest.approx(np.log(joint.sum()))
    np.testing.assert_allclose(result.marginals(model["3"]), joint.sum(axis=1) / joint.sum())


def test_a_parity_check_matrix(put: Put) -> None:
    model = fg.read_alist(put("m.alist", ALIST))
    bits = model.graph.variables("bits")
    exact = Enumeration(model.graph)
    assert exact.log_partition == pytest.approx(3 * np.log(2.0))  # 6 bits less 3 independent checks
    words = exact.log_weights > -np.inf
    matrix = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]])
    bits_of = (np.stack(np.unravel_index(np.flatnonzero(words), [2] * 6)) == 0).astype(int)  # spin -1 is bit 1
    assert not (matrix @ bits_of % 2).any()
    assert bits.size == 6
    model.observe({0: "1", 1: "1", 2: "1"})


def test_a_satisfiability_problem(put: Put) -> None:
    model = fg.read_dimacs(put("m.cnf", CNF))
    assert {b.name: b.count for b in model.graph.factor_blocks.values()} == {"clauses2": 2, "clauses3": 1}
    solutions = sum(
        (a or not b or c) and (not a or not d) and (b or d)
        for a in (False, True)
        for b in (False, True)
        for c in (False, True)
        for d in (False, True)
    )
    assert np.exp(fg.exact(model.graph).log_partition) == pytest.approx(solutions)
    assert model.names == ["1", "2", "3", "4"]


def test_files_are_told_apart_by_their_names(put: Put, tmp_path: Path) -> None:
    for ending, text in FILES.items():
        plain = fg.read_model(put(f"m{ending}", text))
        packed = tmp_path / f"m{ending}.gz"
        packed.write_bytes(gzip.compress(text.encode()))
        assert repr(fg.read_model(packed)) == repr(plain)
    with pytest.raises(ValueError, match="to show the format"):
        fg.read_model(put("m.txt", UAI))
    packed.write_bytes(packed.read_bytes()[:-10])
    with pytest.raises(fg.FileFormatError, match="not a whole gzip file"):
        fg.read_model(packed)


@pytest.mark.parametrize("ending", FILES)
def test_a_file_cut_short_anywhere_is_refused(put: Put, ending: str) -> None:
    """Unless only white space is missing, or the last number is still one."""
    text = FILES[ending]
    refused = 0
    places = range(0, len(text.rstrip()) - 1, 3)
    for place in places:
        path = put(f"m{ending}", text[:place])
        try:
            fg.read_model(path)
        except fg.FileFormatError as error:
            told = str(error)
        else:
            assert text[place - 1].isdigit() or text[place - 1] == ".", text[:place]
            continue
        assert told.startswith(f"{path}, line ")
        refused += 1
    assert refused >= 0.9 * len(places)


@pytest.mark.parametrize(
    ("ending", "old", "new", "message"),
    [
        (".uai", "MARKOV", "FACTORS", "line 1: a model begins with MARKOV or BAYES"),
        (".uai", "2 2 3", "2 2 0", "line 3: a number of states is 0"),
        (".uai", "2 2 3", "2 2 x", "line 3: a number of states should be a whole number, not 'x'"),
        (".uai", "2 0 1", "2 0 3", "line 6: a variable of factor 1 is 3, not from 0 to 2"),
        (".uai", "2 0 1", "2 1 1", "line 6: factor 1 has a variable twice"),
        (".uai", "\n4\n", "\n5\n", "line 12: factor 1 has 5 entries, but its variables have 4"),
        (".uai", "0.872", "-0.872", "line 13: an entry of factor 1 is -0.872"),
        (".uai", "0.872", "nan", "line 13: an entry of factor 1 is nan"),
        (".uai", "0.872", "0,872", "line 13: an entry of factor 1 should be a number, not '0,872'"),
        (".uai", " 0.436 0.564", " 0 0", "all entries of factor 0 are 0"),
        (".uai", "0.189\n", "0.189 0.5\n", "line 18: the model is complete, but 1 more words"),
        (".uai", "3\n2 2 3", "3000000000\n2 2 3", "line 2: the number of variables is 3000000000"),
        (".uai", "3\n2 2 3", "2000000000\n2 2 3", "the file ends too early: 2000000000 times"),
        (".uai", "2 2 3\n3\n", "2 2 100000\n3\n", "factor 2 has 6 entries, but its variables have 200000"),
        (".bif", "network", "net work", "line 2: 'network', 'variable' or 'probability'"),
        (".bif", "discrete [ 3 ]", "discrete [ 4 ]", "line 5: variable 'weather' should have 4 different states"),
        (".bif", "(heads, dry)", "(heads, hail)", "line 14: .* are not states"),
        (".bif", "0.9, 0.1", "0.9, 0.1, 0.0", "line 14: 2 probabilities of 'mood' should be here, not 3"),
        (".bif", "0.9, 0.1", "0.9, x", "line 14: a probability of 'mood' is not a number"),
        (".bif", "  default 0.5, 0.5;\n", "", "'mood' has no probabilities where its parents are"),
        (".bif", "mood | coin", "mood | cion", "no variable 'cion' is declared"),
        (".bif", "probability ( coin ) { table 0.3, 0.7; }", "", "variable 'coin' has no probabilities"),
        (".bif", "( mood | coin, weather )", "( mood | " + ", ".join(f"w{i}" for i in range(40)) + " )", "no variable 'w0'"),
        (".bif", "variable mood", "variable coin", "variable 'coin' is declared twice"),
        (".fg", "3 7\n2 3", "3 3\n2 3", "line 5: factor 0 has a variable twice"),
        (".fg", "5 0.25", "6 0.25", "must be distinct whole numbers below 6"),
        (".fg", "1\n7\n3\n", "1\n7\n2\n", "variable 7 has 2 states here, but 3"),
        (".fg", "2 3\n4\n", "100000 100000\n4\n", "would have 10000000000 entries, of which only 4"),
        (".alist", "3 5 6", "3 5 7", "line 12: the bits of a check should be from 0 to 6|from 0 to 6"),
        (".alist", "3 5 6", "3 4 6", "the lists of the bits and of the checks disagree"),
        (".alist", "1 1 2 1 2 2", "1 1 2 1 2", "line 3: the degrees of the bits should be 6 numbers, not 5"),
        (".alist", "6 3\n", "600000000 3\n", "do not fit a file of this size"),
        (".cnf", "p cnf 4 4", "p dnf 4 4", "line 2: 'p cnf VARIABLES CLAUSES'"),
        (".cnf", "1 -2 3 0", "1 -2 5 0", "line 3: literal 5 has a variable above 4"),
        (".cnf", "1 -2 3 0", "1 -2 x 0", "line 3: a literal should be a whole number, not 'x'"),
        (".cnf", "1 -2 3 0", "0", "line 3: an empty clause"),
        (".cnf", "p cnf 4 4", "p cnf 2000000000 4", "line 2: 2000000000 variables do not fit a file of this size"),
        (".cnf", "p cnf 4 4", "p cnf 4 5", "the file ends after 4 of 5 clauses"),
    ],
)
def test_malformed_files_are_refused_with_the_line(put: Put, ending: str, old: str, new: str, message: str) -> None:
    assert FILES[ending].count(old) >= 1
    path = put(f"m{ending}", FILES[ending].replace(old, new, 1))
    with pytest.raises(fg.FileFormatError, match=message):
        fg.read_model(path)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.uai"
    path.write_bytes(b"MARKOV\n\xff\xfe\x00")
    with pytest.raises(fg.FileFormatError, match="line 2: not text"):
        fg.read_uai(path)


def test_networks() -> None:
    network = nx.Graph()
    network.add_edge("a", "b", strength=0.5)
    network.add_edge("b", "c", strength=-1.0)
    network.add_node("d", field=2.0)
    model = fg.from_networkx(network, fg.Spin(), fg.Ising, weight="strength", prior="field")
    result = fg.run(model.graph)
    assert result.mean(model["d"]) == pytest.approx(np.tanh(2.0))
    model.observe({"a": 1})
    result = fg.run(model.graph)
    assert result.mean(model["b"]) == pytest.approx(np.tanh(0.5))
    assert result.mean(model["c"]) == pytest.approx(-np.tanh(0.5) * np.tanh(1.0))
    with pytest.raises(ValueError, match=r"edge \('a', 'b'\) has no 'weight'"):
        fg.from_networkx(network, fg.Spin(), fg.Ising, weight="weight")
    grid = fg.from_networkx(nx.grid_2d_graph(3, 3), fg.Categorical(3), fg.Potts(1.0))
    assert grid.graph.num_edges == 24
    assert fg.run(grid.graph, tolerance=1e-9).converged


class TestCommandLine:
    def test_marginals_of_belief_propagation_and_exact(
        self, put: Put, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        model, evidence = put("m.uai", UAI), put("m.evid", "1 2 0")
        outputs = []
        for options in ([], ["--exact"], ["--schedule", "residual"], ["--schedule", "random", "--damping", "0.2"]):
            assert main(["infer", str(model), "--evidence", str(evidence), *options]) == 0
            task, numbers = capsys.readouterr().out.split("\n", 1)
            assert task == "MAR"
            outputs.append(np.array(numbers.split(), dtype=float))
        for output in outputs[1:]:
            np.testing.assert_allclose(output, outputs[0], atol=1e-6)
        out = tmp_path / "m.MAR"
        assert main(["infer", str(model), "--evidence", str(evidence), "--output", str(out)]) == 0
        assert [len(p) for p in fg.read_uai_result(out)[1]] == [2, 2, 3]

    def test_partition_function_and_best_state(self, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
        model = put("m.uai", UAI)
        for options in ([], ["--exact"]):
            assert main(["infer", str(model), "--task", "pr", *options]) == 0
            assert float(capsys.readouterr().out.split()[1]) == pytest.approx(0.0, abs=1e-9)
            assert main(["infer", str(model), "--task", "MAP", *options]) == 0
            assert capsys.readouterr().out.split() == ["MAP", "3", "0", "1", "0"]

    def test_strict_fails_where_nothing_converges(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 20)
        left, right = np.triu_indices(20, 1)
        graph.add_factors("pairs", fg.Ising(-0.5), x[left], x[right])
        graph.set_prior(x, 0.2 * (-1.0) ** np.arange(20))
        fg.write_uai(tmp_path / "m.uai", graph)
        command = ["infer", str(tmp_path / "m.uai"), "--max-iterations", "20", "--damping", "0"]
        assert main(command) == 0
        assert main([*command, "--strict"]) == 1
        captured = capsys.readouterr()
        assert "did not converge" in captured.err
        assert "stopped after 20 iterations" in captured.err

    @pytest.mark.parametrize("task", ["MAR", "PR", "MAP"])
    def test_exact_answers_for_several_sets_are_those_of_each(
        self, task: str, put: Put, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, several = str(put("m.uai", UAI)), str(put("several.evid", "3\n1 0 1\n2 0 0 2 1\n0\n"))
        command = ["infer", model, "--task", task, "--exact", "--evidence", several]
        assert main(command) == 0
        together = capsys.readouterr().out.split()
        monkeypatch.setattr(cli, "is_wide_forest", lambda graph: True)  # then they go one after another
        assert main(command) == 0
        alone = capsys.readouterr().out.split()
        assert together[0] == alone[0] == task
        np.testing.assert_allclose(np.array(together[1:], float), np.array(alone[1:], float), rtol=1e-12)
        monkeypatch.undo()
        bad = str(put("bad.evid", "2\n0\n2 1 1 2 1\n"))
        assert main(["infer", model, "--task", task, "--exact", "--evidence", bad]) == 1
        assert "evidence set 2: the evidence contradicts the model" in capsys.readouterr().err

    def test_info(self, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", str(put("m.uai", UAI))]) == 0
        out = capsys.readouterr().out
        assert "3 (0 observed), of 2 to 3 states" in out
        assert "yes: belief propagation is exact" in out
        assert "at most 1 (largest clique 6 joint states)" in out

    def test_failures_exit_with_one_and_usage_with_two(self, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
        model = put("m.uai", UAI)
        impossible = put("bad.evid", "2 1 1 2 1")
        assert main(["infer", str(model), "--evidence", str(impossible)]) == 1
        assert "contradicts the model" in capsys.readouterr().err
        assert main(["infer", str(model), "--evidence", str(impossible), "--exact"]) == 1
        assert main(["infer", str(put("short.uai", UAI[:40]))]) == 1
        assert "line" in capsys.readouterr().err
        assert main(["infer", "absent.uai"]) == 1
        assert "absent.uai" in capsys.readouterr().err
        for wrong in ([], ["infer"], ["infer", str(model), "--task", "SUM"], ["infer", str(model), "--damping", "2"]):
            with pytest.raises(SystemExit) as caught:
                main(wrong)
            assert caught.value.code == 2


def test_a_picture(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    c = graph.add_variables("c", fg.Categorical(3))
    graph.add_factors("pairs", fg.Ising(1.0), x[:-1], x[1:])
    graph.add_factors("mixed", fg.Table(np.arange(6.0).reshape(2, 3)), x[0], c)
    graph.observe(x[3], 1)
    for result in (None, fg.run(graph), fg.exact(graph)):
        axes = fg.draw(graph, result)
        axes.figure.savefig(tmp_path / "graph.png")
        assert (tmp_path / "graph.png").stat().st_size > 5000
        assert any("x[0]" in text.get_text() for text in axes.texts)
    big = fg.FactorGraph()
    big.add_variables("x", fg.Spin(), 3000)
    assert "x\n3,000 of Spin()" in [text.get_text() for text in fg.draw(big).texts]
    with pytest.raises(ValueError, match="at most 2000"):
        fg.draw(big, plates=False)


def test_absurd_sizes_are_refused_before_memory_is_taken(put: Put) -> None:
    wide = "".join(f"variable w{i} {{ type discrete [ 2 ] {{ a, b }}; }}\n" for i in range(60))
    wide += "probability ( w0 | " + ", ".join(f"w{i}" for i in range(1, 60)) + " ) { default 0.5, 0.5; }\n"
    with pytest.raises(fg.FileFormatError, match=r"line 61: the table of 'w0' would have 1152921504606846976 entries"):
        fg.read_bif(put("m.bif", wide))
    with pytest.raises(fg.FileFormatError, match="line 1: the variables have 2000000002 states in all"):
        fg.read_uai(put("m.uai", "MARKOV 2 2 2000000000 1 1 0 2 0.5 0.5"))
    sparse = "200\n" + "\n2\n0 1\n1000 1000\n1\n0 1.0\n" * 200
    with pytest.raises(fg.FileFormatError, match="of which only 1 are given"):
        fg.read_libdai(put("m.fg", sparse))
