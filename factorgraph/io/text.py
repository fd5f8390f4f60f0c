"""Text files read whole, token by token, with the line for every complaint."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

LARGEST_FILE = 2**30  # bytes of text, packed or not
_FREE_UNPACKED = 2**26  # bytes that a file of any size may unpack to, and ...
_EXPANSION = 200  # ... for each of its own bytes; tables of numbers unpack to some 50 to 100
_PIECE = 2**20
_NO_FILES: list[tuple[Callable[[int], bool], str]] = [
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]

# Codecs for other uses than text files, some of which take time quadratic in the length.
_NO_ENCODINGS = {"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}
MANY_STATES = 2**64  # no table has so many entries: counting ends here, since numbers could grow as long as a file
_LARGEST_INTEGER = 2**31 - 1
_LONGEST_INTEGER = 40  # digits
_FREE = 1_000_000
_PER_WORD = 100


def is_absurd(entries: int, words: int) -> bool:
    """Whether a file of so many words asks for so many states or entries that memory should not be taken for them."""
    return entries > _FREE + _PER_WORD * words


def whole(word: str) -> int:
    """
    A whole number.

    Raises
    ------
    ValueError
        The word is none, or is longer than any number or count in a file: Python takes ever longer to read such
        numbers, and beyond 4,300 digits refuses.
    """
    if len(word) > _LONGEST_INTEGER:
        raise ValueError("too many digits")
    return int(word)


def shown(word: str) -> str:
    """A word of a file for a message, cut where it is long."""
    return repr(word) if len(word) <= 40 else f"{word[:40]!r}... ({len(word):,} characters)"


def joint_states(sizes: Iterable[int]) -> int:
    """The number of joint states of variables of so many states; `MANY_STATES` where there are more."""
    product = 1
    for size in sizes:
        product *= size
        if product >= MANY_STATES:
            return MANY_STATES
    return product


def shown_count(count: int) -> str:
    """A number of joint states for a message."""
    return "2**64 or more" if count == MANY_STATES else str(count)


class FileFormatError(ValueError):
    """A file is not in the expected format. The message names the file and the line."""


def read_text(path: str | Path, encoding: str | Callable[[bytes], str] = "utf-8") -> str:
    """
    A file's text, unpacked where the name ends with .gz, without a byte-order mark.

    Files come from anywhere: what is no regular file would block or never end, and a small packed file can unpack to
    any size, so both are refused before memory is taken for them.

    Parameters
    ----------
    path : str or Path
    encoding : str or callable, default "utf-8"
        Of the text; a callable finds it in the bytes.

    Raises
    ------
    FileFormatError
        It is not a regular file, too large, not a whole gzip file, or not text in this encoding, or there is no such encoding.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for test, words in _NO_FILES if test(status.st_mode)), "something else")
        raise FileFormatError(f"{path}: it should be a regular file, but is {kind}")
    with open(path, "rb") as file:
        if Path(path).suffix.lower() == ".gz":
            raw = _unpacked(path, file)
        else:
            raw = _read(path, file, lambda: LARGEST_FILE)
    name = encoding if isinstance(encoding, str) else encoding(bytes(raw[:_PIECE]))
    try:
        if codecs.lookup(name).name in _NO_ENCODINGS:
            raise LookupError
        return raw.decode(name).removeprefix("\ufeff")
    except LookupError:
        known = "'utf-8', 'utf-16' and 'latin-1'"
        raise FileFormatError(f"{path}: there is no text encoding {name!r}; usual ones are {known}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileFormatError(
            f"{path}, line {line}: not text in {name} (byte {error.start} is {raw[error.start]:#x}); if the file has another "
            "encoding, give it, for example encoding='latin-1'"
        ) from None


def _unpacked(path: str | Path, file: BinaryIO) -> bytearray:
    # Bounded by what was taken in so far, so that a bomb is found out early.
    try:
        with gzip.GzipFile(fileobj=file) as unpacking:
            return _read(path, unpacking, lambda: min(LARGEST_FILE, _FREE_UNPACKED + _EXPANSION * file.tell()))
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path}: the file is not a whole gzip file ({error})") from None


def _read(path: str | Path, file: BinaryIO | gzip.GzipFile, bound: Callable[[], int]) -> bytearray:
    """All of a file in pieces, refused when it turns out to be longer than ``bound()``, a bound that may grow meanwhile."""
    raw = bytearray()
    if os.fstat(file.fileno()).st_size > LARGEST_FILE:
        raise FileFormatError(f"{path}: it has more than {LARGEST_FILE:,} bytes, too many to read")
    while piece := file.read(_PIECE):
        raw += piece
        if len(raw) > (most := bound()):
            what = "it has" if most == LARGEST_FILE else "it is too small to be a text that unpacks to"
            raise FileFormatError(f"{path}: {what} more than {most:,} bytes, too many to read")
    return raw


class Tokens:
    """
    The tokens of a text, between white space, taken one after another.

    Parameters
    ----------
    path : named in errors
    text : str
    comment : a sign that begins a comment up to the end of its line, or None
    """

    def __init__(self, path: str | Path, text: str, comment: str | None = None) -> None:
        self.path = path
        self._text = re.sub(re.escape(comment) + "[^\n]*", "", text) if comment else text
        self._tokens = self._text.split()
        self._next = 0

    @property
    def left(self) -> int:
        """Tokens that are left."""
        return len(self._tokens) - self._next

    def error(self, message: str, back: int = 1) -> FileFormatError:
        """An error at the token taken last, or ``back`` ago."""
        number = min(max(self._next - back, 0), max(len(self._tokens) - 1, 0))
        line = 1
        for count, match in enumerate(re.finditer(r"\S+", self._text)):
            if count == number:
                line = self._text.count("\n", 0, match.start()) + 1
                break
        return FileFormatError(f"{self.path}, line {line}: {message}")

    def peek(self, what: str) -> str:
        """The next token as it is, which remains the next."""
        if not self.left:
            raise self.error(f"the file ends where {what} should be")
        return self._tokens[self._next]

    def word(self, what: str) -> str:
        """The next token as it is."""
        word = self.peek(what)
        self._next += 1
        return word

    def integer(self, what: str, low: int = 0, high: int = _LARGEST_INTEGER) -> int:
        """The next token as a whole number from ``low`` to ``high``."""
        word = self.word(what)
        try:
            value = whole(word)
        except ValueError:
            raise self.error(f"{what} should be a whole number, not {shown(word)}") from None
        if not low <= value <= high:
            raise self.error(f"{what} is {value}, not from {low} to {high}")
        return value

    def integers(self, count: int, what: str, low: int = 0, high: int = _LARGEST_INTEGER) -> np.ndarray:
        """The next tokens as whole numbers from ``low`` to ``high``."""
        self.expect(count, what)
        try:
            values = np.array(self._tokens[self._next : self._next + count], dtype=np.int64)
            good = bool(((values >= low) & (values <= high)).all())
        except (ValueError, OverflowError):
            good = False
        if not good:
            for _ in range(count):  # the first that is wrong, with its line
                self.integer(what, low, high)
        self._next += count
        return values

    def numbers(self, count: int, what: str) -> np.ndarray:
        """The next tokens as numbers of at least 0."""
        self.expect(count, what)
        words = self._tokens[self._next : self._next + count]
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            for number, word in enumerate(words):
                try:
                    float(word)
                except ValueError:
                    self._next += number + 1
                    raise self.error(f"{what} should be a number, not {shown(word)}") from None
            raise
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            self._next += int(np.argmax(wrong)) + 1
            word = words[int(np.argmax(wrong))]
            raise self.error(
                f"{what} is {word if len(word) <= 40 else shown(word)}; it should be a finite number of at least 0"
            )
        self._next += count
        return values

    def expect(self, count: int, what: str) -> None:
        """Refuse a count of tokens that the file cannot hold, before memory is taken for them."""
        if count > self.left:
            raise self.error(f"the file ends too early: {count} times {what} should follow, but only {self.left} words do")

    def end(self) -> None:
        """Refuse what follows the end."""
        if self.left:
            self._next += 1
            raise self.error(
                f"the model is complete, but {self.left + 1} more words follow, the first {shown(self._tokens[self._next - 1])}"
            )
