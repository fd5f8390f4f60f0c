"""Models, evidence and answers in files, in the formats of the field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from factorgraph.io.alist import read_alist
from factorgraph.io.bif import read_bif
from factorgraph.io.dimacs import read_dimacs
from factorgraph.io.libdai import read_libdai
from factorgraph.io.model import Model
from factorgraph.io.networks import from_networkx
from factorgraph.io.text import FileFormatError
from factorgraph.io.uai import (
    read_uai,
    read_uai_evidence,
    read_uai_result,
    write_uai,
    write_uai_evidence,
    write_uai_result,
)

__all__ = [
    "FileFormatError",
    "Model",
    "from_networkx",
    "read_alist",
    "read_bif",
    "read_dimacs",
    "read_libdai",
    "read_model",
    "read_uai",
    "read_uai_evidence",
    "read_uai_result",
    "write_uai",
    "write_uai_evidence",
    "write_uai_result",
]

_READERS: dict[str, Callable[[str | Path], Model]] = {
    ".uai": read_uai,
    ".erg": read_uai,
    ".bif": read_bif,
    ".fg": read_libdai,
    ".alist": read_alist,
    ".cnf": read_dimacs,
}


def read_model(path: str | Path) -> Model:
    """
    Read a model in the format that the file's name tells: .uai, .erg, .bif, .fg, .alist or .cnf, each also with .gz after it.

    Raises
    ------
    FileFormatError
        The file is not what its name says; the message has the line.
    ValueError
        The name tells no format.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    ending = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if ending not in _READERS:
        raise ValueError(f"{path}: the format is told by the ending of the name, one of {', '.join(_READERS)}, each also .gz")
    return _READERS[ending](path)
