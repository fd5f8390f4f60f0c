"""Dialects of the formats, encodings, and several sets of evidence in one file."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.cli import main
from tests.factorgraph.sample_files import HUGIN, UAI, WCNF, XMLBIF

NAMES = {"coin": ["heads", "tails"], "weather": ["dry", "wet", "very cold"], "mood": ["good", "bad"]}
COIN, WEATHER = np.array([0.3, 0.7]), np.array([0.2, 0.5, 0.3])
GOOD = np.array([[0.9, 0.5, 0.8], [0.6, 0.5, 0.3]])


@pytest.mark.parametrize(("name", "text"), [("m.xmlbif", XMLBIF), ("m.xml", XMLBIF), ("m.net", HUGIN)])
def test_a_network_in_another_format(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    model = fg.read_model(tmp_path / name)
    assert dict(zip(model.names, model.states or [], strict=True)) == NAMES
    found = dict(zip(model.names, model.marginals(fg.exact(model.graph)), strict=True))
    np.testing.assert_allclose(found["mood"][0], np.einsum("c,w,cw", COIN, WEATHER, GOOD), rtol=1e-12)
    model.observe({"mood": "good", "weather": "very cold"})
    again = dict(zip(model.names, model.marginals(fg.exact(model.graph)), strict=True))
    np.testing.assert_allclose(again["coin"], COIN * GOOD[:, 2] / (COIN @ GOOD[:, 2]), rtol=1e-12)


def test_a_potential_without_data_is_uniform(tmp_path: Path) -> None:
    (tmp_path / "m.net").write_text(HUGIN.replace("{ data = (0.3 0.7); }", "{ }"))
    model = fg.read_model(tmp_path / "m.net")
    np.testing.assert_allclose(model.marginals(fg.exact(model.graph))[0], [0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "text", "old", "new", "message"),
    [
        ("m.xmlbif", XMLBIF, "</VARIABLE>", "</VARIBLE>", "line 13: this is not XML: mismatched tag"),
        ("m.xmlbif", XMLBIF, "<BIF VERSION", "<NET VERSION", "line 6: XMLBIF begins with the element BIF, not 'NET'"),
        ("m.xmlbif", XMLBIF, "nature", "decision", "line 13: a variable of type 'decision'"),
        ("m.xmlbif", XMLBIF, "0.3 0.7 </TABLE>", "0.3 </TABLE>", "line 8: 12 probabilities of 'mood' should be here, not 11"),
        ("m.xmlbif", XMLBIF, "0.3 0.7 </TABLE>", "0.3 x </TABLE>", "line 8: a probability of 'mood' is not a number"),
        ("m.xmlbif", XMLBIF, "0.3 0.7 </TABLE>", "0.3 -1 </TABLE>", "line 8: a probability of 'mood' is negative"),
        ("m.xmlbif", XMLBIF, "<GIVEN>coin<", "<GIVEN>mood<", "line 8: the probabilities of 'mood' are given twice, or a"),
        ("m.xmlbif", XMLBIF, "<GIVEN>coin<", "<GIVEN>sun<", "line 8: no variable 'sun' is declared"),
        ("m.xmlbif", XMLBIF, "<FOR>coin</FOR>", "<FOR>coin</FOR><GIVEN>mood</GIVEN>", "line 19: .* probabilities of 'coin'"),
        ("m.xmlbif", XMLBIF, "<FOR>coin</FOR>", "", "line 19: a definition should have one FOR and one TABLE"),
        ("m.xmlbif", XMLBIF, "<!ELEMENT BIF", '<!ENTITY a "aaaa"><!ELEMENT BIF', "line 3: entity 'a' is declared"),
        (
            "m.xmlbif",
            XMLBIF,
            "<OUTCOME>heads</OUTCOME>",
            "<OUTCOME>tails</OUTCOME>",
            "line 13: variable 'coin' should",
        ),
        ("m.net", HUGIN, "node mood", "utility node mood", "line 15: a utility node"),
        ("m.net", HUGIN, "node mood", "class mood", "line 15: classes of nodes cannot be read"),
        ("m.net", HUGIN, "potential (mood |", "potential (mood coin |", "line 16: one variable should come first"),
        ("m.net", HUGIN, "coin weather)", "coin sun)", "line 16: no variable 'sun' is declared"),
        ("m.net", HUGIN, "(0.3 0.7)));", "(0.3)));", "line 16: 12 probabilities of 'mood' should be here, not 11"),
        ("m.net", HUGIN, "(0.3 0.7)));", "(0.3 0.7)))", "line 18: a ';' is missing after the data of 'mood'"),
        (
            "m.net",
            HUGIN,
            "{ data = (0.3 0.7); }",
            "{ model_data = (Binomial (1, p)); }",
            "line 22: the table of 'coin' is",
        ),
        ("m.net", HUGIN, '("good" "bad");', '("good" "bad")', "line 15: a ';' is missing after the value of 'states'"),
        ("m.net", HUGIN, '"good" "bad"', '"good" "bad', "line 15: the file ends inside of a quotation mark"),
        ("m.net", HUGIN, 'states = ("good" "bad");', "", "line 15: node 'mood' has no 'states"),
        ("m.wcnf", WCNF, "2 2 0", "x 2 0", "line 5: the weight of a clause should be a number of at least 0, not 'x'"),
        ("m.wcnf", WCNF, "2 2 0", "-2 2 0", "line 5: the weight of a clause should be a number of at least 0"),
        ("m.wcnf", WCNF, "wcnf 4 6 9", "wcnf 4 7 9", "line 8: the file ends after 6 of 7 clauses"),
        ("m.wcnf", WCNF, "2 2 0", "2 0", "line 5: an empty clause, .* only adds a constant"),
        ("m.wcnf", WCNF.replace("9", "90000000"), "2 2 0", "5000000 2 0", "line 5: a soft clause has weight 5e"),
        ("m.wcnf", WCNF, "wcnf 4 6 9", "wcnf 4 6 9 9", "line 2: 'p cnf VARIABLES CLAUSES' or 'p wcnf"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, text: str, old: str, new: str, message: str) -> None:
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    with pytest.raises(fg.FileFormatError, match=message):
        fg.read_model(tmp_path / name)


def test_a_network_with_a_cycle_is_refused(tmp_path: Path) -> None:
    text = "node a { states = (y n); } node b { states = (y n); }\npotential (a | b) { }\npotential (b | a) { }"
    (tmp_path / "m.net").write_text(text)
    with pytest.raises(fg.FileFormatError, match="line 2: these variables are their own ancestors: 'a' -> 'b' -> 'a'"):
        fg.read_model(tmp_path / "m.net")


NEW_HEADER = "c as since 2022\nh 1 -2 3 0\nh -1 -4 0\n2 2 0\n1 -2 4 0\n3 -3 0\n0 1 0\n"
SPLIT, TWICE = NEW_HEADER.replace("2 2 0", "2 2\n0"), NEW_HEADER.replace("2 2", "1.25 2 0\n0.75 2")


@pytest.mark.parametrize("text", [WCNF, NEW_HEADER, SPLIT, TWICE])
def test_soft_clauses_cost_their_weight(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.wcnf").write_text(text)
    model = fg.read_model(tmp_path / "m.wcnf")
    costs = {}
    for a, b, c, d in product((False, True), repeat=4):
        if (a or not b or c) and (not a or not d):
            costs[a, b, c, d] = 2 * (not b) + 1 * (b and not d) + 3 * c
    total = sum(np.exp(-cost) for cost in costs.values())
    result = fg.exact(model.graph)
    assert result.log_partition == pytest.approx(np.log(total), abs=1e-12)
    share = sum(np.exp(-cost) for (_, b, _, _), cost in costs.items() if b) / total
    assert model.marginals(result)[1][1] == pytest.approx(share, abs=1e-12)
    mode = model.mode(fg.exact(model.graph, mode="max"))
    assert costs[tuple(bool(v) for v in mode)] == min(costs.values())


def test_all_clauses_are_soft_without_a_top_weight(tmp_path: Path) -> None:
    (tmp_path / "m.wcnf").write_text("p wcnf 1 2\n3 1 0\n5 -1 0\n")
    model = fg.read_model(tmp_path / "m.wcnf")
    assert fg.exact(model.graph).log_partition == pytest.approx(np.logaddexp(-3.0, -5.0))


class TestEncodings:
    TEXT = "variable été { type discrete [ 2 ] { froid, brûlant }; }\nprobability ( été ) { table 0.5, 0.5; }\n"

    def test_another_encoding_is_refused_with_the_remedy_that_works(self, tmp_path: Path) -> None:
        path = tmp_path / "m.bif"
        path.write_bytes(self.TEXT.encode("latin-1"))
        with pytest.raises(fg.FileFormatError, match=r"line 1: not text in utf-8 .* give it, for example encoding='latin-1'"):
            fg.read_model(path)
        assert fg.read_model(path, encoding="latin-1").names == ["été"]
        assert fg.read_bif(path, encoding="latin-1").states == [["froid", "brûlant"]]
        assert main(["info", str(path)]) == 1
        assert main(["info", str(path), "--encoding", "latin-1"]) == 0

    def test_an_unknown_encoding_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "m.bif").write_text(self.TEXT)
        for name in ("latin-99", "punycode", "hex"):
            with pytest.raises(fg.FileFormatError, match=f"there is no text encoding '{name}'"):
                fg.read_model(tmp_path / "m.bif", encoding=name)

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-16"])
    def test_xml_says_its_own(self, tmp_path: Path, encoding: str) -> None:
        text = XMLBIF.replace("US-ASCII", encoding).replace("heads", "brûlant")
        (tmp_path / "m.xmlbif").write_bytes(text.encode(encoding))
        model = fg.read_model(tmp_path / "m.xmlbif")
        assert model.states is not None
        assert model.states[0] == ["brûlant", "tails"]


class TestSeveralSetsOfEvidence:
    SETS = "3\n1 2 0\n0\n2 0 1 1 0\n"

    @pytest.mark.parametrize("options", [[], ["--exact"], ["--schedule", "residual"]])
    @pytest.mark.parametrize("task", ["MAR", "PR", "MAP"])
    def test_are_answered_as_each_alone(self, tmp_path: Path, task: str, options: list[str]) -> None:
        model, evidence, out = (str(tmp_path / name) for name in ("m.uai", "m.evid", "out"))
        Path(model).write_text(UAI)
        Path(evidence).write_text(self.SETS)
        command = ["infer", model, "--evidence", evidence, "--task", task, "--output", out, "--tolerance", "1e-12", *options]
        assert main(command) == 0
        kind, answers = fg.read_uai_result(out)
        assert kind == task
        assert len(answers) == 3
        for line, answer in zip(self.SETS.splitlines()[1:], answers, strict=True):
            Path(evidence).write_text(line)
            assert main(command) == 0
            _, alone = fg.read_uai_result(out)
            pairs = [(answer, alone)] if task == "PR" else list(zip(answer, alone, strict=True))
            for one, other in pairs:
                np.testing.assert_allclose(one, other, atol=1e-9)

    def test_a_set_that_contradicts_the_model_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "m.uai").write_text("MARKOV\n2\n2 2\n1\n2 0 1\n4\n1 0 0 1\n")
        (tmp_path / "m.evid").write_text("2\n1 0 1\n2 0 0 1 1\n")
        for options, told in (["--exact"], "evidence set 2"), ([], "set 1"):
            assert main(["infer", str(tmp_path / "m.uai"), "--evidence", str(tmp_path / "m.evid"), *options]) == 1
            assert told in capsys.readouterr().err

    def test_one_answer_over_several_lines_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.MAR").write_text("MAR\n2\n2 0.5 0.5\n2 0.25 0.75\n")
        _, answer = fg.read_uai_result(tmp_path / "a.MAR")
        assert [p.tolist() for p in answer] == [[0.5, 0.5], [0.25, 0.75]]
