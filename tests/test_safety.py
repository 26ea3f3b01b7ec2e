"""Nothing that comes inside a file is run, nothing is fetched unasked, no folder is left."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest

import hyperpeft
from hyperpeft import cli, load_run
from hyperpeft.errors import BundleError, ConfigError, LabelsError
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.records import palette
from hyperpeft.report import write_report
from hyperpeft.runs.experiment import run
from hyperpeft.scenes import read_labels
from hyperpeft.system.files import read_json
from hyperpeft.system.output_folder import locked
from hyperpeft.system.safe_yaml import read_yaml
from tests.helpers.small import PROGRAM, config, options, planted, yaml_file

ROOT = Path(hyperpeft.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
    "yaml.full_load", "marshal.loads", "marshal.load", "joblib.load", "shelve.open",
    "torch.hub.load", "torch.jit.load", "extractall", "shutil.unpack_archive",
}  # fmt: skip
# Objects that one process of a cluster sends to another, never from a file; and a module by name.
ALLOWED = {("mapping/dask_cluster.py", "pickle.loads"), ("scenes/readers/stores.py", "__import__")}
MUST_SAY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords}


def runs_code(path: Path) -> list[str]:
    """What a source calls that runs what a file holds, and loads without saying how."""
    place, found = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else "", []
    for name, keywords in calls(path):
        short = name if name in RUNS_CODE else name.rpartition(".")[2]
        if name in RUNS_CODE or short == "extractall":
            found += [] if (place, name) in ALLOWED else [name]
        if name in MUST_SAY:
            keyword, value = MUST_SAY[name]
            said = keywords.get(keyword)
            if not (isinstance(said, ast.Constant) and said.value is value):
                found.append(f"{name} without {keyword}={value}")
        if "shell" in keywords or (name.endswith(".save") and "allow_pickle" in keywords):
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_what_a_file_holds(path):
    assert runs_code(path) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)", "exec(text)", "pickle.loads(b)", "yaml.load(f)", "torch.load(f)",
        "torch.load(f, weights_only=False)", "np.load(f)", "np.load(f, allow_pickle=True)",
        "subprocess.run(words, shell=True)", "archive.extractall(folder)", "os.system(words)",
    ],
)  # fmt: skip
def test_the_check_sees_what_it_must(source, tmp_path):
    (tmp_path / "a.py").write_text(source)
    assert runs_code(tmp_path / "a.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a small scene and a finished run."""
    folder = tmp_path_factory.mktemp("world")
    run(config(folder, folder / "run", epochs=1, map=False))
    return folder


@pytest.fixture
def server():
    """A server that remembers what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    httpd.asked, httpd.url = asked, f"http://127.0.0.1:{httpd.server_port}"
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def vrt(path: Path, source: str) -> Path:
    path.write_text(
        '<VRTDataset rasterXSize="24" rasterYSize="24"><VRTRasterBand dataType="Float32" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def describe_services(folder: Path, url: str) -> dict[str, Path]:
    """Untrusted files that name a server: scenes, and labels of the good scene."""
    wms = folder / "wms.tif"
    wms.write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
        "</Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>0</UpperLeftY><LowerRightX>24"
        "</LowerRightX><LowerRightY>24</LowerRightY><TileLevel>0</TileLevel><TileCountX>1"
        "</TileCountX><TileCountY>1</TileCountY></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"
    )
    stac = folder / "stac.json"
    stac.write_text(
        json.dumps(
            {
                "type": "FeatureCollection", "stac_version": "1.0.0",
                "features": [{"type": "Feature", "stac_version": "1.0.0", "properties": {},
                              "assets": {"a": {"href": f"{url}/a.tif"}}}],
            }
        )
    )  # fmt: skip
    wfs = folder / "wfs.gml"
    wfs.write_text(f"<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>")
    layer = folder / "layer.json"
    layer.write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>'
        f"/vsicurl/{url}/a.geojson</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    return {
        "a map service": wms,
        "a catalogue": stac,
        "a raster there": vrt(folder / "a.vrt", f"/vsicurl/{url}/a.tif"),
        "a raster there, streamed": vrt(folder / "b.vrt", f"/vsicurl_streaming/{url}/a.tif"),
        "its bare address": vrt(folder / "c.vrt", f"{url}/a.tif"),
        "in two steps": vrt(folder / "d.vrt", str(vrt(folder / "e.vrt", f"{url}/a.tif"))),
        "a service in two steps": vrt(folder / "f.vrt", str(wms)),
        "vectors of a service": wfs,
        "vectors there": layer,
    }


def test_no_file_sends_its_reader_to_a_server(world, server, tmp_path):
    """In a process of its own, as a user's is: GDAL reads its settings when it is loaded."""
    files = describe_services(tmp_path, server.url)
    wordings = []
    for file in files.values():
        vectors = file.suffix in (".gml", ".json") and file.stem != "stac"
        scene = world / "scene.tif" if vectors else file
        labels = file if vectors else world / "scene_labels.tif"
        wordings.append(
            ["train", str(scene), "--labels", str(labels), "--out", str(tmp_path / "o")]
        )
    script = """
import json, sys
from hyperpeft import cli
for words in json.loads(sys.argv[1]):
    sys.argv = ["hyperpeft", *words]
    try:
        cli.main()
        print(0)
    except SystemExit as stop:
        print(stop.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(wordings)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["2"] * len(files), done.stderr
    assert done.stderr.count("error: ") == len(files)
    assert "Traceback" not in done.stderr
    assert server.asked == []
    assert not (tmp_path / "o").exists()


def test_the_server_would_have_been_asked(server, tmp_path):
    """Without our settings GDAL does ask: the test above can fail."""
    file = describe_services(tmp_path, server.url)["its bare address"]
    script = "import rasterio, sys\nwith rasterio.open(sys.argv[1]) as f:\n    f.read(1)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GDAL", "CPL", "OGR"))}
    subprocess.run(
        [sys.executable, "-c", script, str(file)],
        capture_output=True, timeout=120, check=False, env=environment,
    )  # fmt: skip
    assert server.asked


def test_overwriting_a_folder_of_a_stranger_removes_links_and_not_their_targets(world, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(world / "run", folder)
    target = tmp_path / "precious"
    (folder / "adapter").rename(target)
    (folder / "adapter").symlink_to(target)
    before = sorted((p.name, p.read_bytes()) for p in target.iterdir())
    run(config(world, folder, epochs=2, map=False), overwrite=True)
    assert sorted((p.name, p.read_bytes()) for p in target.iterdir()) == before
    assert not (folder / "adapter").is_symlink()
    assert {p.name for p in (folder / "adapter").iterdir()} == {name for name, _ in before}


def test_names_are_data(world, tmp_path, monkeypatch, capsys):
    """A scene, labels and a run whose names a shell would obey."""
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "a;touch pwned $(touch pwned2) `touch pwned3` & 'b' \"c\" | d"
    odd.mkdir()
    scene, labels = odd / "x$(touch pwned4);.tif", odd / "-rf *.tif"
    shutil.copyfile(world / "scene.tif", scene)
    shutil.copyfile(world / "scene_labels.tif", labels)
    values = options(world, tmp_path)
    file = yaml_file(odd / "run.yaml", {k: values[k] for k in ("num_heads", "patch_size")})
    for words in (
        ["train", scene, "--labels", labels, "--backbone", values["backbone"], "--config", file,
         "--epochs", "1", "--out", odd / "run; ls"],
        ["map", odd / "run; ls", "--out", odd / "map $(id).tif"],
        ["report", odd / "run; ls", "--out", odd / "report & co"],
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *map(str, words)])
        cli.main()
    assert (odd / "map $(id).tif").is_file()
    assert [p.name for p in tmp_path.iterdir()] == [odd.name]
    assert not list(tmp_path.rglob("pwned*"))
    capsys.readouterr()


def test_names_do_not_reach_the_page_or_the_terminal_as_code(world, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(world / "run", folder)
    record = json.loads((folder / "run.json").read_text())
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b]0;owned\x07\x1b[2J"
    record["scene"]["name"] = evil
    record["scene"]["classes"] = [evil, "soil"]
    (folder / "run.json").write_text(json.dumps(record))
    page = write_report(tmp_path, tmp_path / "report")[0].read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    for words in (["adapters", "list", str(folder)], ["evaluate", str(folder)]):
        monkeypatch.setattr(sys, "argv", ["hyperpeft", *words])
        cli.main()
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
    bad = tmp_path / "no\x1b[2Jsuch\nerror: all is well"
    done = subprocess.run(
        [*PROGRAM, "evaluate", str(bad)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


PIPELINE = '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read %s"}'


@pytest.mark.parametrize("packed", [False, True])
def test_pipelines_of_gdal_are_no_labels(tmp_path, packed):
    """A file of this kind reads other files, runs SQL, and loads libraries by their names."""
    other = tmp_path / "other.geojson"
    point = {"type": "Point", "coordinates": [4e5 + 60, 5.8e6 - 60]}
    feature = {"type": "Feature", "properties": {"class": 1}, "geometry": point}
    other.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    path = tmp_path / "labels.json"
    path.write_text(PIPELINE % other)
    if packed:
        with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
            archive.write(path, "labels.json")
        path = tmp_path / "labels.zip"
    with pytest.raises(LabelsError, match="only describes vectors that lie elsewhere"):
        read_labels(path, scene=planted())


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04X}" for c in text)


@pytest.mark.parametrize("kind", ["link", "URL", escaped("link")])
@pytest.mark.parametrize("name", ["crs", escaped("crs")])
@pytest.mark.parametrize("place", ["file", "geometry", "end of a large file"])
def test_a_crs_that_is_a_link_is_not_followed(server, tmp_path, kind, name, place):
    link = f'"{name}": {{"type": "{kind}", "properties": {{"href": "{server.url}/crs"}}}}'
    inside = f", {link}" if place == "geometry" else ""
    geometry = f'{{"type": "Point", "coordinates": [1, 2]{inside}}}'
    fill = "x" * 2**20 if place.startswith("end") else ""
    feature = (
        f'{{"type": "Feature", "properties": {{"class": 1, "text": "{fill}"}}, '
        f'"geometry": {geometry}}}'
    )
    outside = "" if inside else f", {link}"
    path = tmp_path / "a.geojson"
    path.write_text(f'{{"type": "FeatureCollection", "features": [{feature}]{outside}}}')
    with pytest.raises(LabelsError, match="its CRS is an address"):
        read_labels(path, scene=planted())
    assert server.asked == []


def test_words_of_links_in_fields_are_no_links(tmp_path):
    point = {"type": "Point", "coordinates": [4e5 + 60, 5.8e6 - 60]}
    values = {"class": 1, "type": "link", "crs": "url"}
    feature = {"type": "Feature", "properties": values, "geometry": point}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    scene = replace(planted(), crs="EPSG:32633", transform=(30.0, 0, 4e5, 0, -30.0, 5.8e6))
    assert read_labels(path, scene=scene, class_field="class").counts() == {1: 1}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("link", ["symbolic", "hard", "pipe"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, link):
    mine = tmp_path / "mine.txt"
    mine.write_text("a thesis")
    lock = tmp_path / "folder" / ".hyperpeft.lock"
    lock.parent.mkdir()
    if link == "symbolic":
        lock.symlink_to(mine)
    elif link == "hard":
        lock.hardlink_to(mine)
    else:
        os.mkfifo(lock)
    with pytest.raises(ConfigError, match="cannot be written"), locked(lock):
        pass
    assert mine.read_text() == "a thesis"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["map.png", "run.json"])
def test_a_report_shows_no_file_from_outside_a_run(world, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text("TOP-SECRET")
    run = tmp_path / "runs" / "one"
    shutil.copytree(world / "run", run)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    with pytest.raises(BundleError, match="is a link to a file outside its folder"):
        write_report(tmp_path / "runs", tmp_path / "report")
    if name == "run.json":
        (run / name).unlink()
        (run / name).symlink_to("/dev/zero")
        with pytest.raises(BundleError, match="is a link to a file outside its folder"):
            load_run(run)
        with pytest.raises(BundleError, match="no regular file"):
            read_json(Path("/dev/zero"))


def test_a_benchmark_cannot_name_its_folder_elsewhere(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    plan = tmp_path / "here" / "b.yaml"
    plan.write_text(
        "name: ../../elsewhere\nscenes: {salinas-a: {}}\nmethods: [lda]\n"
        "budgets: {few: {per_class: 3}}\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.argv", ["hyperpeft", "bench", str(plan)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "cannot name a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_number_of_thousands_of_digits_in_a_configuration(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 0x" + "f" * 20_000)
    with pytest.raises(ConfigError, match="a number of more than 100 digits"):
        read_yaml(tmp_path / "c.yaml")


EVIL = "x}\\input{/etc/passwd}\n# <script>alert(1)</script> ^^5c `a` \x1b[2J\u202e"


def test_names_of_others_are_text_in_every_report(world, tmp_path, capsys, monkeypatch):
    record = json.loads((world / "run" / "run.json").read_text())
    for i in range(2):
        record["scene"].update(name=EVIL, sha256=str(i) * 64)
        (tmp_path / "runs" / f"r{i}").mkdir(parents=True)
        (tmp_path / "runs" / f"r{i}" / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr(
        "sys.argv", ["hyperpeft", "report", str(tmp_path / "runs"), "--out", str(tmp_path / "r")]
    )
    cli.main()
    said = capsys.readouterr().out
    assert "note: " in said
    assert all(c.isprintable() or c == "\n" for c in said)
    markdown = (tmp_path / "r" / "report.md").read_text()
    assert "<script" not in markdown
    assert all(c.isprintable() or c == "\n" for c in markdown)
    for path in (tmp_path / "r" / "tables").glob("*.tex"):
        text = path.read_text()
        assert "\\input" not in text
        assert "^^" not in text
        assert "\x1b" not in text


def test_styles_and_categories_are_xml_whatever_classes_are_called(tmp_path):
    names = {1: EVIL, 2: "\x00\ufffe"}
    write_class_map(tmp_path / "m.tif", np.full((4, 4), 2, np.uint8), names, palette(names))
    for path in (tmp_path / "m.tif.aux.xml", tmp_path / "m.qml"):
        minidom.parse(str(path))
