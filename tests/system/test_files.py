"""Files written whole or not at all; files found by name."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest

from hyperpeft.errors import ConfigError
from hyperpeft.system.files import cache_folder, data_folders, find_file, replacing, sha256_of


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"), replacing(tmp_path / "file" / "a"):
        pass


def test_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "d"))
    assert data_folders() == [tmp_path / "d", tmp_path / "c"]
    monkeypatch.delenv("HYPERPEFT_DATA")
    assert data_folders() == [tmp_path / "c"]
    monkeypatch.setenv("HYPERPEFT_DATA", "~nobody-of-this-name/x")
    with pytest.raises(
        ConfigError, match="HYPERPEFT_DATA=~nobody-of-this-name/x: expected a folder"
    ):
        find_file(["a"])
    monkeypatch.delenv("HYPERPEFT_DATA")
    monkeypatch.setenv("HYPERPEFT_CACHE", "~nobody-of-this-name")
    with pytest.raises(
        ConfigError, match="HYPERPEFT_CACHE=~nobody-of-this-name: expected a folder"
    ):
        cache_folder()
    monkeypatch.delenv("HYPERPEFT_CACHE")
    pooch = pytest.importorskip("pooch")
    assert cache_folder() == pooch.os_cache("hyperpeft")


def test_search(tmp_path, monkeypatch):
    data, cache = tmp_path / "d", tmp_path / "c"
    monkeypatch.setenv("HYPERPEFT_DATA", str(data))
    monkeypatch.setenv("HYPERPEFT_CACHE", str(cache))
    for path in (
        data / "x" / "deep" / "A.mat",
        data / "y" / "a.MAT",
        cache / "a.mat",
        cache / "b.mat",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (data / ".hidden").mkdir()
    (data / ".hidden" / "c.mat").touch()
    assert find_file(["a.mat"]) == data / "y" / "a.MAT"  # data first, nearest to the top, any case
    assert find_file(["b.mat", "a.mat"]) == data / "y" / "a.MAT"
    assert find_file(["B.MAT"]) == cache / "b.mat"
    assert find_file(["c.mat"]) is None
