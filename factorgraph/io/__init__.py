"""Models, evidence and answers in files, in the formats of the field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from factorgraph.io.alist import read_alist
from factorgraph.io.bif import read_bif
from factorgraph.io.dimacs import read_dimacs
from factorgraph.io.hugin import read_hugin
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
from factorgraph.io.xmlbif import read_xmlbif

__all__ = [
    "FileFormatError",
    "Model",
    "from_networkx",
    "read_alist",
    "read_bif",
    "read_dimacs",
    "read_hugin",
    "read_libdai",
    "read_model",
    "read_uai",
    "read_uai_evidence",
    "read_uai_result",
    "read_xmlbif",
    "write_uai",
    "write_uai_evidence",
    "write_uai_result",
]

_READERS: dict[str, Callable[..., Model]] = {
    ".uai": read_uai,
    ".erg": read_uai,
    ".bif": read_bif,
    ".xmlbif": read_xmlbif,
    ".xml": read_xmlbif,
    ".net": read_hugin,
    ".fg": read_libdai,
    ".alist": read_alist,
    ".cnf": read_dimacs,
    ".wcnf": read_dimacs,
}


def read_model(path: str | Path, encoding: str | None = None) -> Model:
    """
    Read a model in the format that the file's name indicates.

    The name ends with .uai, .erg, .bif, .xmlbif (or .xml), .net (HUGIN), .fg (libDAI), .alist, .cnf or .wcnf. Each of these may
    be followed by .gz.

    Parameters
    ----------
    path : str or Path
    encoding : str, optional
        Encoding of the file. Default: UTF-8, or the encoding that an XML file declares.

    Raises
    ------
    FileFormatError
        The file is not in the format of its name, or the encoding does not exist. The message names the line.
    ValueError
        The name indicates no format.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    ending = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if ending not in _READERS:
        raise ValueError(
            f"{path}: the name must end in {', '.join(_READERS)}, or in one of these followed by .gz, to show the format"
        )
    return _READERS[ending](path) if encoding is None else _READERS[ending](path, encoding)
