"""Texts with braces and quotation marks, token by token, with the line for every complaint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from factorgraph.io.text import FileFormatError


class Token(NamedTuple):
    """A piece of a text, and where it begins."""

    kind: str  # "word", "quoted", "sign", or "end" of the file
    text: str
    place: int

    def is_sign(self, sign: str) -> bool:
        """Whether it is this sign."""
        return self.kind == "sign" and self.text == sign

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words, not quoted."""
        return self.kind == "word" and self.text in words


class Scanner:
    """
    Base of parsers that take a text token by token.

    Parameters
    ----------
    path : named in errors
    text : str
    pattern : one token, as one of the groups skip, quoted, sign, word and wrong (what nothing else matches)
    """

    def __init__(self, path: str | Path, text: str, pattern: re.Pattern[str]) -> None:
        self.path = path
        self.text = text
        self.at = 0
        self._pattern = pattern

    def error(self, place: int, message: str) -> FileFormatError:
        """An error at a place in the text."""
        line = self.text.count("\n", 0, place) + 1
        return FileFormatError(f"{self.path}, line {line}: {message}")

    def take(self) -> Token:
        """The next token; at the end of the file one of kind "end"."""
        while match := self._pattern.match(self.text, self.at):
            self.at = match.end()
            kind = match.lastgroup
            if kind == "skip":
                continue
            if kind == "wrong":
                what = "a quotation mark" if match.group() == '"' else "a comment"
                raise self.error(match.start(), f"the file ends inside of {what} that begins here")
            assert kind is not None
            return Token(kind, match.group(kind), match.start())
        return Token("end", "", self.at)
