"""Files from anywhere: hostile, broken or written in other dialects. They load, or are refused in words and at once."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.cli import main
from factorgraph.io import text
from tests.factorgraph.sample_files import FILES, UAI
from tests.fuzz.mutations import within


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


Put = Callable[[str, str], Path]


class TestTheDoor:
    @pytest.mark.parametrize("ending", [*FILES, ".uai.gz"])
    def test_what_is_no_regular_file_is_refused_at_once(self, tmp_path: Path, ending: str) -> None:
        folder, pipe, device = (tmp_path / f"{name}{ending}" for name in ("folder", "pipe", "device"))
        folder.mkdir()
        os.mkfifo(pipe)
        device.symlink_to("/dev/zero")
        for path, kind in ((folder, "a folder"), (pipe, "a pipe"), (device, "a device")):
            with pytest.raises(fg.FileFormatError, match=f"{path}: it should be a regular file, but is {kind}"):
                fg.read_model(path)
            with pytest.raises(fg.FileFormatError, match=kind):
                fg.read_uai_evidence(path)
            assert main(["infer", str(path)]) == 1

    def test_a_file_too_large_is_refused_before_it_is_read(self, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
        path = put("m.uai", UAI)
        with path.open("r+b") as file:
            file.truncate(text.LARGEST_FILE + 1)  # a hole, which takes no disk
        tracemalloc.start()
        with pytest.raises(fg.FileFormatError, match=r"m\.uai: it has more than 1,073,741,824 bytes"):
            fg.read_uai(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()
        packed = path.with_suffix(".uai.gz")
        packed.write_bytes(gzip.compress(UAI.encode()))
        monkeypatch.setattr(text, "LARGEST_FILE", len(UAI))
        assert len(fg.read_uai(packed)) == 3
        monkeypatch.setattr(text, "LARGEST_FILE", len(UAI) - 1)
        with pytest.raises(fg.FileFormatError, match=f"it has more than {len(UAI) - 1} bytes"):
            fg.read_uai(packed)

    def test_a_packed_bomb_is_refused_without_its_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "m.uai.gz"
        member = gzip.compress(b" " * 2**26)
        path.write_bytes(member * 16)  # unpacks to 1 GiB
        tracemalloc.start()
        with pytest.raises(fg.FileFormatError, match=r"m\.uai\.gz: it is too small to be a text that unpacks to more than"):
            fg.read_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**28
        tracemalloc.stop()

    @pytest.mark.parametrize("ending", FILES)
    def test_a_byte_order_mark_is_skipped(self, put: Put, ending: str) -> None:
        plain = fg.read_model(put(f"m{ending}", FILES[ending]))
        assert repr(fg.read_model(put(f"marked{ending}", "\ufeff" + FILES[ending]))) == repr(plain)


class TestLongNumbers:
    @pytest.mark.parametrize("digits", [41, 4_400, 100_000])
    @pytest.mark.parametrize(
        ("ending", "old", "line"),
        [
            (".uai", "3\n2 2 3", 2),
            (".uai", "2 3\n3", 3),
            (".uai", "0 1\n2 1 2", 6),
            (".uai", "6\n 0.21", 16),
            (".uai", "0.872", 13),
            (".bif", "2 ] { heads", 3),
            (".bif", "0.3, 0.7", 9),
            (".bif", "0.9, 0.1", 14),
            (".fg", "2\n\n2\n", 2),
            (".fg", "3 7\n2 3", 5),
            (".fg", "3\n4\n0", 6),
            (".fg", "4\n0 0.5", 7),
            (".fg", "0 0.5\n", 8),
            (".fg", "0.5\n", 8),
            (".alist", "6 3\n", 1),
            (".alist", "3 5 6", 12),
            (".cnf", "4 4\n", 2),
            (".cnf", "4\n1 -2 3 0", 2),
            (".cnf", "2 3 0", 3),
        ],
    )
    def test_a_number_of_very_many_digits_is_refused_with_its_line(
        self, put: Put, ending: str, old: str, line: int, digits: int
    ) -> None:
        number = old.split()[0].rstrip(",")
        assert FILES[ending].count(old) == 1
        long = old.replace(number, ("1" if digits > 400 else "9") * digits + ("." if "." in number else ""), 1)
        path = put(f"m{ending}", FILES[ending].replace(old, long))
        if "." in number and digits < 300:
            fg.read_model(path)  # a large potential is one
            return
        with pytest.raises(fg.FileFormatError) as caught:
            fg.read_model(path)
        assert str(caught.value).startswith(f"{path}, line {line}: ")
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("text", ["1 0 {}", "1 {} 0", "{} 0 1", "{}\n1 0 0"])
    def test_in_evidence_and_answers_too(self, put: Put, text: str) -> None:
        path = put("m.evid", text.format("1" * 5_000))
        with pytest.raises(fg.FileFormatError, match=r"m\.evid, line 1: .*should be a whole number"):
            fg.read_uai_evidence(path)
        with pytest.raises(fg.FileFormatError, match=r"line 1: .*should be a whole number"):
            fg.read_uai_result(put("m.MAP", f"MAP 2 0 {'1' * 5_000}"))

    def test_very_many_joint_states_are_refused_in_words(self, put: Put) -> None:
        """Their number, of 18,000 digits, would not even fit into the message."""
        n = 60_000
        scope = " ".join(map(str, range(n)))
        with pytest.raises(fg.FileFormatError, match=r"line 5: factor 0 has 2 entries, but its variables have 2\*\*64 or more"):
            fg.read_uai(put("m.uai", f"MARKOV\n{n}\n{'2 ' * n}\n1\n{n} {scope} 2 0.5 0.5"))
        with pytest.raises(fg.FileFormatError, match=r"line 4: the table of factor 0 would have 2\*\*64 or more entries"):
            fg.read_libdai(put("m.fg", f"1\n\n{n}\n{scope} {'2 ' * n} 1 0 0.5"))
        declared = "".join(f"variable w{i} {{ type discrete [ 2 ] {{ a, b }}; }}\n" for i in range(n))
        parents = ", ".join(f"w{i}" for i in range(1, n))
        with pytest.raises(fg.FileFormatError, match=r"line 60001: the table of 'w0' would have 2\*\*64 or more entries"):
            fg.read_bif(put("m.bif", f"{declared}probability ( w0 | {parents} ) {{ default 0.5, 0.5; }}"))

    def test_very_many_tables_are_counted_together(self, put: Put) -> None:
        declared = "".join(f"variable w{i} {{ type discrete [ 2 ] {{ a, b }}; }}\n" for i in range(300))
        parents = ", ".join(f"w{i}" for i in range(18))
        tables = "".join(f"probability ( w{i} | {parents} ) {{ default 0.5, 0.5; }}\n" for i in range(18, 300))
        with pytest.raises(fg.FileFormatError, match="entries, too many for what is given"):
            fg.read_bif(put("m.bif", declared + tables))


JAVA_BAYES = """network "Alarm; { // /* Light" { //2 variables
  property "credal-set } constant-density-bounded 1.1" ;
}
probability (  "light // on"  "a-way" ) { //2 variable(s) and 4 values
  table 0.6 0.05 0.4 0.95 ;
}
variable  "light // on" { //2 values
  property "type discrete [ 3 ] { a, b, c };" ;
  type discrete[2] {  "true"  "fal;se" };
}
variable  "a-way" {
  type discrete[2] {  "/* true }"  "false, mostly" };
}
probability (  "a-way" ) { /* a comment with a " */
  table 0.15 0.85 ;
}
"""
CHAIN = """variable a { type discrete [ 2 ] { x, y }; }
variable b { type discrete [ 2 ] { x, y }; }
variable c { type discrete [ 2 ] { x, y }; }
probability ( a ) { table 0.5 0.5; }
probability ( b | a ) {
  (x) 0.1 0.9;
  (y) 0.2 0.8;
}
probability ( c | b ) { default 0.5 0.5; }
"""


class TestBif:
    def test_quotes_and_order_and_blanks(self, put: Put) -> None:
        model = fg.read_bif(put("m.bif", JAVA_BAYES))
        assert model.names == ["light // on", "a-way"]
        assert model.states == [["true", "fal;se"], ["/* true }", "false, mostly"]]
        on = 0.6 * 0.15 + 0.05 * 0.85
        np.testing.assert_allclose(fg.exact(model.graph).marginals(model["light // on"]), [on, 1 - on])
        rows = '( "/* true }" ) 0.6 0.4;\n("false, mostly") 0.05, 0.95;'
        again = fg.read_bif(put("m.bif", JAVA_BAYES.replace("table 0.6 0.05 0.4 0.95 ;", rows)))
        np.testing.assert_allclose(fg.exact(again.graph).marginals(again["light // on"]), [on, 1 - on])

    def test_commas_alone_part_names_of_several_words(self, put: Put) -> None:
        text = (
            CHAIN.replace("{ x, y }", "{ very good, y }").replace("(x)", "(very good)").replace("variable a", "variable an a")
        )
        model = fg.read_bif(put("m.bif", text.replace("( a )", "( an a )").replace("| a )", "| an a )")))
        assert model.names == ["an a", "b", "c"]
        assert model.states is not None
        assert model.states[0] == ["very good", "y"]
        np.testing.assert_allclose(fg.exact(model.graph).marginals(model["b"]), [0.15, 0.85])

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("(y) 0.2", "(x) 0.2", r"line 7: the row of 'b' for \['x'\] is given twice"),
            ("(y) 0.2 0.8", "table 0.1 0.9 0.2 0.8", "line 6: the probabilities of 'b' are given twice"),
            ("default 0.5 0.5", "default 0.5 0.5; default 0.5 0.5", "line 9: the 'default' of 'c' is given twice"),
            ("( a ) { table 0.5 0.5", "( a | c ) { default 0.5 0.5", "line 4: .* ancestors: 'a' -> 'b' -> 'c' -> 'a'"),
            ("( b | a )", "( b | b )", "line 5: .*a variable occurs twice"),
            ("( b | a )", "( b c | a )", "line 5: .*'b c'|one variable"),
            ("( b | a )", "( b, c | a )", r"line 5: one variable should come first .*\['b', 'c'\]"),
            ("( b | a )", "( | a )", "line 5: one variable should come first"),
            ("variable a", "variable a, d", "line 1: 'variable' should have one name, not 'a , d'"),
            ("variable a", "variable", "line 1: 'variable' should have one name"),
            ("type discrete [ 2 ] { x, y }; }\nvariable b", "}\nvariable b", "line 1: variable 'a' has no 'type"),
            ("{ x, y }", "{ x, y(1) }", r"line 1: '\(' cannot be in a name that is not quoted"),
            ("(y) 0.2", '("y) 0.2', "line 7: the file ends inside of a quotation mark"),
            ("(y) 0.2", "/* (y) 0.2", "line 7: the file ends inside of a comment"),
            ("(y) 0.2", "(y 0.2", "line 7: "),
        ],
    )
    def test_what_contradicts_itself_is_refused_by_name(self, put: Put, old: str, new: str, message: str) -> None:
        assert old in CHAIN
        path = put("m.bif", CHAIN.replace(old, new, 1))
        with pytest.raises(fg.FileFormatError, match=message):
            fg.read_bif(path)

    @pytest.mark.parametrize("filling", [" ", "\n", "/", "*", "(", "{", "[ ", "a ", ", ", "network ", "type ", '"'])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("network", ""),
            ("network x {", ""),
            ("/*", ""),
            ("variable a {", "}"),
            ("variable a { type", "}"),
            ("variable a { type discrete [", "] { x, y }; }"),
            ("variable a { type discrete [ 2", "] { x, y }; }"),
            ("variable a { type discrete [ 2 ]", "{ x, y }; }"),
            ("variable a { type discrete [ 2 ] { x, y }", "}"),
            ("probability (", ") {"),
            ("probability ( a ) {", "}"),
            ("probability ( a ) { table", "}"),
        ],
    )
    def test_long_fillings_take_no_long_time(self, put: Put, before: str, after: str, filling: str) -> None:
        """With patterns that try all ways of matching, each of these would take minutes."""
        path = put("m.bif", before + filling * 20_000 + after)
        with within(10.0), pytest.raises(fg.FileFormatError, match=f"{path}, line ") as caught:
            fg.read_bif(path)
        assert len(str(caught.value)) < 200_000


class TestUaiDialects:
    def test_a_model_without_its_header(self, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
        """As the evaluations of 2006 to 2008 had them."""
        model = fg.read_model(put("m.uai", UAI))
        for name in ("m.erg", "bare.uai"):
            path = put(name, UAI.removeprefix("MARKOV\n"))
            assert repr(fg.read_model(path)) == repr(model)
            assert main(["infer", str(path), "--task", "MAP", "--exact"]) == 0
            assert capsys.readouterr().out.split() == ["MAP", "3", "0", "1", "0"]
        assert repr(fg.read_model(put("headed.erg", UAI))) == repr(model)
        with pytest.raises(fg.FileFormatError, match=r"line 2: .*begins with MARKOV or BAYES, or with the number of variables"):
            fg.read_model(put("m.erg", "\nx\n3"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2\n1 0 0\n0\n", [{0: 0}, {}]),
            ("2\n\n0\n1 0 0", [{}, {0: 0}]),
            ("2\n1 0 0 0", [{1: 0, 0: 0}]),
            ("2 1 0 0 0", [{1: 0, 0: 0}]),
            ("2\n1 0\n0 0\n", [{1: 0, 0: 0}]),
            ("1\n0 1", [{0: 1}]),
            ("1\n1 0 1", [{0: 1}]),
            ("3\n0\n0\n3 0 0 1 0 2 0", [{}, {}, {0: 0, 1: 0, 2: 0}]),
            ("2 1 0 1 2 0 0 2 1", [{0: 1}, {0: 0, 2: 1}]),
            ("2\n1 0\n1\n2 0 0\n2 1", [{0: 1}, {0: 0, 2: 1}]),
        ],
    )
    def test_lines_tell_one_set_of_evidence_from_several(self, put: Put, text: str, expected: list[dict[int, int]]) -> None:
        assert fg.read_uai_evidence(put("m.evid", text)) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("3\n1 0 0\n1 2 1", "the file ends where"),
            ("1\n1 0 0\n0", "complete, but 1 more"),
            ("9999999999\n0", "line 1"),
            ("2000000000\n0", "line 1"),
        ],
    )
    def test_evidence_that_is_neither_is_refused(self, put: Put, text: str, message: str) -> None:
        with pytest.raises(fg.FileFormatError, match=message):
            fg.read_uai_evidence(put("m.evid", text))


class TestWideFactors:
    """Of more variables than NumPy has axes, which a file can hold where most have a single state."""

    @pytest.mark.parametrize("several", [0, 1, 3])
    @pytest.mark.parametrize("width", [28, 31, 32, 33, 63, 64, 65, 200])
    def test_answers_are_right(self, put: Put, width: int, several: int) -> None:
        places = [0, width // 2, width - 1][:several]
        sizes = [2 + (v == 0) if v in places else 1 for v in range(width)]
        table = np.arange(1.0, np.prod(sizes) + 1)
        scope, numbers = " ".join(map(str, range(width))), " ".join(map(str, sizes))
        values = " ".join(map(str, table))
        uai = f"MARKOV {width} {numbers} 1 {width} {scope} {table.size} {values}"
        joint = table.reshape([q for q in sizes if q > 1])
        # libDAI's tables have the first variable's states fastest.
        turned = joint.T.ravel()
        fg_text = f"1\n\n{width}\n{scope}\n{numbers}\n{table.size}\n" + "".join(f"{i} {p}\n" for i, p in enumerate(turned))
        for model in (fg.read_uai(put("m.uai", uai)), fg.read_libdai(put("m.fg", fg_text))):
            for result in (fg.run(model.graph), fg.exact(model.graph)):
                assert result.log_partition == pytest.approx(np.log(table.sum()))
                for axis, place in enumerate(places):
                    others = tuple(other for other in range(several) if other != axis)
                    np.testing.assert_allclose(result.marginals(model[place]), joint.sum(axis=others) / table.sum())
                np.testing.assert_allclose(result.marginals(model[1]), [1.0])

    @pytest.mark.parametrize("parents", [31, 32, 64, 100])
    def test_of_bayesian_networks_too(self, put: Put, parents: int) -> None:
        text = "variable b { type discrete [ 2 ] { x, y }; } probability ( b ) { table 0.25 0.75; }\n"
        for v in range(parents):
            text += f"variable a{v} {{ type discrete [ 1 ] {{ only }}; }} probability ( a{v} ) {{ table 1.0; }}\n"
        text += "variable c { type discrete [ 2 ] { x, y }; }\n"
        text += "probability ( c | b, " + ", ".join(f"a{v}" for v in range(parents)) + " ) {\n"
        only = ", only" * parents
        model = fg.read_bif(put("m.bif", text + f"(x{only}) 0.2 0.8;\n(y{only}) 0.6 0.4;\n}}"))
        np.testing.assert_allclose(fg.run(model.graph).marginals(model["c"]), [0.5, 0.5])

    def test_too_many_axes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="too many axes"):
            fg.Model.of_tables([2] * 31, [(range(31), np.ones(1))])
