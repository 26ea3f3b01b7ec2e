"""The guard of output folders: order of its checks, and what it leaves behind."""

from __future__ import annotations

import pytest

from hyperpeft.errors import ConfigError
from hyperpeft.system.locks import LOCK, InUse, locked
from hyperpeft.system.output_folder import output_folder


def test_a_refused_folder_is_not_touched(tmp_path):
    def refuse(_):
        raise ConfigError("it holds something else")

    out = tmp_path / "a" / "out"
    with pytest.raises(ConfigError, match="something else"), output_folder(out, "it", check=refuse):
        pass
    scene = tmp_path / "scene.tif"
    scene.write_bytes(b"cube")
    given = {"outputs": [scene], "inputs": [("the scene", scene)]}
    with pytest.raises(ConfigError, match="would replace"), output_folder(out, "it", **given):
        pass
    with pytest.raises(ConfigError, match="is a file"), output_folder(scene, "it"):
        pass
    assert list(tmp_path.iterdir()) == [scene]


def test_the_content_is_checked_again_under_the_lock(tmp_path):
    """Another process may have ended between the check and the lock."""
    seen = []

    def check(cut_off):
        seen.append((cut_off, (tmp_path / LOCK).is_file()))

    with output_folder(tmp_path, "it", check=check):
        with pytest.raises(InUse, match=r"^it is in use by"), output_folder(tmp_path, "it"):
            pass
        assert (tmp_path / LOCK).is_file()
    assert seen == [(False, False), (False, True)]
    (tmp_path / LOCK).write_text("process 1 on elsewhere\n")
    with output_folder(tmp_path, "it", check=check):
        pass
    assert seen[2:] == [(True, True), (True, True)]
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept(tmp_path):
    places = [tmp_path, tmp_path / "cells", tmp_path / "work"]
    for place in places:
        place.mkdir(exist_ok=True)
        (place / ".map.part-abcdefgh.tif").write_bytes(b"half")
    with output_folder(tmp_path, "it", lock="work/lock", leftovers=(".", "cells")):
        left = [path.parent.name for path in tmp_path.rglob(".*.part-*")]
    assert left == ["work"]
    with output_folder(tmp_path, "it"):
        assert not list(tmp_path.rglob(".*.part-*"))


def test_other_processes_of_one_task_take_no_lock(tmp_path):
    with (
        locked(tmp_path / LOCK, "it"),
        output_folder(tmp_path, "it", first=False),
    ):
        pass
    assert not (tmp_path / LOCK).exists()
