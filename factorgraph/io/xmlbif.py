"""Bayesian networks in XMLBIF, the Interchange Format as XML."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from factorgraph.io.bayesian import BayesianNetwork
from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, read_text, shown

_DEEPEST = 100
_ENCODING = re.compile(r"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["']""", re.ASCII)


def read_xmlbif(path: str | Path, encoding: str | None = None) -> Model:
    """
    Read a Bayesian network from XMLBIF 0.3, as JavaBayes, Weka, SamIam and pgmpy write it.

    The names and states of the model are those of the file. In a table, the states of the parents come in their order, and the
    states of the variable change fastest. Properties are ignored.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, optional
        Encoding of the file. Default: the one that the file declares, or else UTF-8.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, it has decisions or utilities, it gives probabilities twice, or its variables are
        their own ancestors. The message names the line.
    """
    return _Parser(path, encoding).model()


class _Parser:
    def __init__(self, path: str | Path, encoding: str | None) -> None:
        self.path = path
        self.text = read_text(path, encoding or _declared)
        self.network = BayesianNetwork(self.error, len(self.text))
        self.open: list[str] = []
        self.words: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.start = 0
        self.waiting: list[tuple[int, dict[str, list[str]]]] = []

    def error(self, line: int, message: str) -> FileFormatError:
        return FileFormatError(f"{self.path}, line {max(line, 1)}: {message}")

    def model(self) -> Model:
        parser = self.parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self.words.append
        # No network needs entities of its own, and a few of them can unpack to any size.
        parser.EntityDeclHandler = self._refuse_entity
        try:
            parser.Parse(self.text, True)
        except expat.ExpatError as error:
            raise self.error(error.lineno, f"this is not XML: {expat.errors.messages[error.code]}") from None
        for line, found in self.waiting:
            self._definition(line, found)
        return self.network.model(self.parser.CurrentLineNumber)

    def _refuse_entity(self, name: str, *_: Any) -> None:
        raise self.error(self.parser.CurrentLineNumber, f"entity {shown(name)} is declared, which no network needs")

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        tag, line = tag.upper(), self.parser.CurrentLineNumber
        if not self.open and tag != "BIF":
            raise self.error(line, f"XMLBIF begins with the element BIF, not {shown(tag)}")
        if len(self.open) >= _DEEPEST:
            raise self.error(line, "elements are nested too deeply")
        if tag in ("VARIABLE", "DEFINITION", "PROBABILITY"):
            if self.found:
                raise self.error(line, f"{tag} begins inside another block")
            self.start, self.found = line, {"": []}
            kind = {name.upper(): value for name, value in attributes.items()}.get("TYPE", "nature")
            if tag == "VARIABLE" and kind != "nature":
                raise self.error(
                    line, f"a variable of type {shown(kind)} cannot be read, only those of nature, with probabilities"
                )
        self.words.clear()
        self.open.append(tag)

    def _end(self, tag: str) -> None:
        tag = self.open.pop()
        text = "".join(self.words).strip()
        self.words.clear()
        if tag == "VARIABLE":
            found, self.found = self.found, {}
            names = found.get("NAME", [])
            if len(names) != 1:
                raise self.error(self.start, f"a variable should have one NAME, not {names[:9]}")
            self.network.add_variable(names[0], found.get("OUTCOME", []) + found.get("VALUE", []), self.start)
        elif tag in ("DEFINITION", "PROBABILITY"):
            self.waiting.append((self.start, self.found))  # its variables may be declared after it
            self.found = {}
        elif self.found:
            self.found.setdefault(tag, []).append(text)

    def _definition(self, line: int, found: dict[str, list[str]]) -> None:
        children, tables = found.get("FOR", []), found.get("TABLE", [])
        if len(children) != 1 or len(tables) != 1:
            raise self.error(
                line, f"a definition should have one FOR and one TABLE; it has {len(children)} and {len(tables)} of them"
            )
        child = children[0]
        rows, columns = self.network.add_scope(child, found.get("GIVEN", []), line)
        words = tables[0].split()
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            raise self.error(line, f"a probability of {child!r} is not a number: {shown(' '.join(words))}") from None
        if values.size != rows * columns:
            raise self.error(line, f"{rows * columns} probabilities of {child!r} should be here, not {values.size}")
        self.network.add_table(child, values.reshape(rows, columns), line)


def _declared(raw: bytes) -> str:
    """The encoding that an XML file declares; a byte-order mark says UTF-8 whatever is declared."""
    if raw.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    match = _ENCODING.match(raw[:200].decode("latin-1").lstrip())
    return match.group(1) if match else "utf-8"
