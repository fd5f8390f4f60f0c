"""Files from anywhere: hostile, broken or written in other dialects. They load, or are refused in words and at once."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import factorgraph as fg
from factorgraph.cli import main
from factorgraph.io import text
from tests.factorgraph.test_io import BIF, FILES, UAI


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
