"""Scenes fetched from a server on this machine, and scenes generated with a planted truth."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.svm import SVC

from hyperpeft.errors import ConfigError, DownloadError
from hyperpeft.scenes import Card, File, fetch, open_scene
from hyperpeft.scenes.catalog import fetch as module
from hyperpeft.scenes.synthetic.demo import demo_scene, planted_scene
from tests.helpers.scene_files import cube, geotiff, mat5

IDS = np.zeros((7, 5))
IDS[0, :3] = 1


@pytest.fixture
def server():
    """Serves `pages`: path to (status, body, claimed length)."""
    pages = {}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body, length = pages.get(self.path, (404, b"no", 2))
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    httpd.pages, httpd.asked = pages, asked
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERPEFT_DATA", raising=False)
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def content(tmp_path):
    return mat5(tmp_path / "source.mat", c=cube()).read_bytes()


def card(server, sha256=None, name="t.mat", extra=()):
    cube_file = File("cube", ("T.mat", "T.tif"), ("c",), f"{server.url}/{name}", sha256)
    return Card("tiny", "t", "s", (7, 5, 6), 1.0, "", {1: ("A", 3)}, (0, 1, 2), (cube_file, *extra))


def left_behind(cache):
    return sorted(p.name for p in cache.rglob("*") if p.is_file())


def test_right_file(server, cache, content, tmp_path):
    labels = File("labels", ("t_gt.mat",), ("g",), f"{server.url}/gt.mat")
    body = mat5(tmp_path / "gt.mat", g=IDS).read_bytes()
    server.pages["/t.mat"] = (200, content, len(content))
    server.pages["/gt.mat"] = (200, body, len(body))
    steps = []
    paths = fetch(card(server, extra=(labels,)), progress=lambda *step: steps.append(step))
    assert paths == [cache / "tiny" / "T.mat", cache / "tiny" / "t_gt.mat"]
    assert paths[0].read_bytes() == content
    assert steps[0][0] == "T.mat"
    assert ("T.mat", len(content), len(content)) in steps
    assert fetch(card(server, extra=(labels,))) == paths
    assert server.asked == ["/t.mat", "/gt.mat"]  # the second time nothing is asked for
    assert left_behind(cache) == ["T.mat", "sha256.json", "t_gt.mat"]
    paths[0].write_bytes(content + b"x")
    with pytest.raises(DownloadError, match="has changed since it was downloaded"):
        fetch(card(server, extra=(labels,)))


def test_known_hash(server, cache, content):
    server.pages["/t.mat"] = (200, content, len(content))
    assert fetch(card(server, hashlib.sha256(content).hexdigest()))[0].is_file()


def other_shape(tmp_path):
    return mat5(tmp_path / "o.mat", c=cube(bands=5)).read_bytes()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("html", "the server sent a web page instead of the file"),
        ("magic", "no .mat file"),
        ("hash", "wrong sha256: expected 0000"),
        ("short", "broke off|not complete"),
        ("silently short", "cannot be read as a MATLAB"),
        ("shape", r"expected \(7, 5, 6\)"),
        ("dead", "the server answers 404"),
        ("offline", "no connection"),
    ],
)
def test_wrong_downloads(server, cache, content, case, message, tmp_path):
    tiny = card(server, "0" * 64 if case == "hash" else None)
    other = other_shape(tmp_path)
    half = content[: len(content) // 2]
    pages = {
        "html": (200, b"<!DOCTYPE html><title>moved</title>", 35),
        "magic": (200, b"PK\x03\x04" * 300, 1200),
        "hash": (200, content, len(content)),
        "short": (200, half, len(content)),
        "silently short": (200, half, None),
        "shape": (200, other, len(other)),
    }
    if case in pages:
        server.pages["/t.mat"] = pages[case]
    if case == "offline":
        tiny = card(type("Dead", (), {"url": "http://127.0.0.1:9"}))
    with pytest.raises(DownloadError, match=message) as caught:
        fetch(tiny)
    told = str(caught.value)
    assert "put T.mat or T.tif (variable c), 7 x 5 x 6" in told
    assert str(cache / "tiny") in told
    assert "/t.mat" in told
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "../up"}, "name: expected the name of a folder"),
        ({"rgb": (6, 0, 1)}, "rgb: expected three bands from 0 to 5"),
        ({"rgb": (1.5, 0, 1)}, "rgb: expected three bands"),
        ({"classes": {"1": ("a", 3)}}, "classes: expected ids that are 1 or more"),
        ({"classes": {0: ("a", 3)}}, "classes: expected ids that are 1 or more"),
        ({"files": (File("cube", ()),)}, "files: expected a name and a role"),
        ({"files": (File("cubes", ("T.mat",)),)}, "files: expected a name and a role"),
    ],
)
def test_a_card_of_wrong_fields(server, fields, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(card(server), **fields)


def test_no_url(server, cache):
    tiny = Card(
        "by-hand",
        "t",
        "s",
        (7, 5, 6),
        1.0,
        "",
        {},
        (0, 1, 2),
        (File("cube", ("T.mat",), ("c",)),),
        note="from http://example.org",
    )
    with pytest.raises(DownloadError, match=r"put T.mat .variable c.*http://example.org"):
        fetch(tiny)


def archive(tmp_path, members):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in members.items():
            file.writestr(name, body)
    return path.read_bytes()


def test_archive(server, cache, tmp_path):
    tif = geotiff(tmp_path / "x.tif", cube()).read_bytes()
    body = archive(tmp_path, {"deep/T.tif": tif, "deep/readme.txt": b"no"})
    server.pages["/a.zip"] = (200, body, len(body))
    assert fetch(card(server, name="a.zip")) == [cache / "tiny" / "T.tif"]
    assert (cache / "tiny" / "T.tif").read_bytes() == tif
    assert left_behind(cache) == ["T.tif", "sha256.json"]


@pytest.mark.parametrize("evil", ["../T.tif", "/T.tif", "a/../../T.tif", "..\\T.tif", "C:\\T.tif"])
def test_archive_that_escapes(server, cache, tmp_path, evil):
    body = archive(tmp_path, {evil: b"II*\x00"})
    server.pages["/a.zip"] = (200, body, len(body))
    with pytest.raises(DownloadError, match="unsafe path"):
        fetch(card(server, name="a.zip"))
    assert left_behind(cache) == []


def test_archive_with_a_link_out_of_it(server, cache, tmp_path):
    """What a link's entry holds is the name of its target: no .tif file."""
    link = zipfile.ZipInfo("T.tif")
    link.external_attr = 0o120777 << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    body = path.read_bytes()
    server.pages["/a.zip"] = (200, body, len(body))
    with pytest.raises(DownloadError, match=r"no \.tif file"):
        fetch(card(server, name="a.zip"))
    assert left_behind(cache) == []


def test_archive_that_is_too_big_or_lacks_the_file(server, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_UNPACKED", 1000)
    body = archive(tmp_path, {"T.tif": b"II*\x00" + b"\x00" * 2000})
    server.pages["/a.zip"] = (200, body, len(body))
    with pytest.raises(DownloadError, match="unpacks to too much"):
        fetch(card(server, name="a.zip"))
    body = archive(tmp_path, {"other.tif": b"II*\x00"})
    server.pages["/a.zip"] = (200, body, len(body))
    with pytest.raises(DownloadError, match=r"does not hold T.mat or T.tif"):
        fetch(card(server, name="a.zip"))
    assert left_behind(cache) == []


def accuracy(scene, bands=slice(None), per_class=10, seed=0):
    rng = np.random.default_rng(seed)
    x = scene.cube.values[bands].reshape(-1, scene.labels.ids.size).T.astype(float)
    x = (x - x.mean(0)) / x.std(0)
    y = scene.labels.ids.ravel()
    train = np.concatenate(
        [rng.choice(np.flatnonzero(y == i), per_class, replace=False) for i in scene.labels.classes]
    )
    test = np.setdiff1d(np.flatnonzero(y), train)
    return float((SVC(C=100).fit(x[train], y[train]).predict(x[test]) == y[test]).mean())


def test_demo_is_what_it_says():
    scene = open_scene("demo")
    assert scene.shape == (96, 96, 120)
    assert scene.name == "demo (generated)"
    assert "generated" in scene.notes[0]
    assert len(scene.labels.counts()) == 8
    assert min(scene.labels.counts().values()) >= 100
    nm = scene.wavelengths
    assert nm[0] == 400
    assert 2400 < nm[-1] <= 2450
    assert not (((nm > 1350) & (nm < 1450)) | ((nm > 1800) & (nm < 1950))).any()
    assert scene.transform[0] == 4.0
    assert "32633" in scene.crs
    assert demo_scene().sha256 == scene.sha256 != demo_scene(seed=1).sha256
    with pytest.raises(ConfigError, match="at least 48 x 48 x 12"):
        demo_scene(height=10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_is_neither_trivial_nor_hopeless(seed):
    assert 0.75 < accuracy(demo_scene(seed)) < 0.92


def test_vegetation_has_a_red_edge_and_water_has_none():
    scene = demo_scene()
    red, infrared = (int(np.abs(scene.wavelengths - w).argmin()) for w in (670, 850))
    ratio = {
        name: scene.cube.values[infrared][scene.labels.ids == i].mean()
        / scene.cube.values[red][scene.labels.ids == i].mean()
        for i, name in scene.labels.classes.items()
    }
    assert min(ratio["Meadow"], ratio["Maize"], ratio["Trees"]) > 3
    assert max(ratio["Bare soil"], ratio["Asphalt"], ratio["Water"]) < 2.2


def test_planted_truth_is_in_one_band():
    scene = planted_scene(3, bands=20, informative_band=7, classes=3)
    others = [i for i in range(20) if i != 7]
    assert accuracy(scene, [7]) > 0.98
    assert accuracy(scene, others) < 0.45
    shuffled = planted_scene(3, bands=20, informative_band=7, classes=3, shuffled=True)
    assert accuracy(shuffled) < 0.45
    assert shuffled.labels.counts() == scene.labels.counts()
    assert (scene.labels.ids[:8, :8] == scene.labels.ids[0, 0]).all()
    assert scene.labels.ids[0, 8] != scene.labels.ids[0, 0]
    with pytest.raises(ConfigError, match="expected 0 to 39"):
        planted_scene(informative_band=40)
