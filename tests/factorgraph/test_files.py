"""Files written whole or not at all, and arrays read with nothing believed."""

from __future__ import annotations

import io
import os
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from factorgraph.files import DamagedFileError, open_whole, parse_json, read_npz, write_npz, write_text


def test_modes_are_kept_and_links_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "secret", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    write_text(tmp_path / "dangling", "there")
    assert (tmp_path / "made").read_text() == "there"


def test_new_files_have_the_mode_that_the_process_gives(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_what_is_no_file_is_written_straight_to(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(timeout=10)
    assert heard == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_text("/dev/null", "nothing")
    assert not Path("/dev/null").is_file()


def leave_half_written(path: Path) -> None:
    with open_whole(path) as file:
        file.write(b"half")
        raise RuntimeError("half")


def test_long_names_and_failures_leave_nothing_behind(tmp_path: Path) -> None:
    name = "n" * 245 + ".npz"
    write_npz(tmp_path / name, {"x": np.arange(3)})
    with pytest.raises(RuntimeError, match="half"):
        leave_half_written(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    np.testing.assert_array_equal(read_npz(tmp_path / name)["x"], np.arange(3))


@pytest.mark.parametrize(
    "kind", ["text", "huge claim", "bomb", "objects", "doubled", "encrypted", "other members", "truncated"]
)
def test_arrays_that_are_none_are_refused_in_words(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    content = io.BytesIO()
    np.save(content, np.zeros(8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "huge claim":
            header = content.getvalue().replace(b"(8,)", b"(1" + b"0" * 13 + b",)")[: len(content.getvalue())]
            archive.writestr("x.npy", header)
        elif kind == "bomb":
            with archive.open("x.npy", "w") as member:
                for _ in range(400):
                    member.write(bytes(1 << 20))
        elif kind == "other members":
            archive.writestr("x.txt", "1 2 3")
        else:
            archive.writestr("x.npy", content.getvalue())
    if kind == "objects":
        np.savez(path, x=np.array([{}], dtype=object))
    if kind == "text":
        path.write_text("no")
    data = bytearray(path.read_bytes())
    if kind == "doubled":
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x.npy", content.getvalue())
    if kind == "encrypted":
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(bytes(data))
    if kind == "truncated":
        path.write_bytes(bytes(data[:-30]))
    with pytest.raises(DamagedFileError, match=r"a\.npz: this is not a whole \.npz file \(.+\)"):
        read_npz(path)


def test_folders_and_pipes_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path):
        with pytest.raises(DamagedFileError, match="not a file"):
            read_npz(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_json_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 100_000)
