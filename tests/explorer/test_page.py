"""The page in a real browser, and who may see it."""

from __future__ import annotations

import asyncio
import gc
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import shapely
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from hyperpeft import cli
from hyperpeft.assessment import sample_map
from hyperpeft.explorer import Explorer, LabelStore
from hyperpeft.explorer.server import serve_page
from hyperpeft.records import thinned
from hyperpeft.scenes import open_scene, open_view
from tests.helpers.scene_files import large_by_pixel
from tests.helpers.small import PROGRAM, planted, write_map, write_scene

pytest.importorskip("panel", reason="the extra `explore` is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SLOW = 200  # seconds for what a busy machine does; nothing here measures time
PICTURES = Path(os.environ.get("HYPERPEFT_PICTURES", ""))  # where to keep screenshots
WIDTHS = ((1440, 900), (1024, 768))
MODEL = "Bokeh.documents[0].get_model_by_name"


class Server:
    """`hyperpeft explore` in a process of its own."""

    def __init__(self, folder, *words):
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*PROGRAM, "explore", *map(str, words), "--no-browser"], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.url = None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
            if found:
                self.url, self.port, self.token = found[0], int(found[1]), found[2]
                break
        assert self.url, self.process.stderr.read()

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(60)
        errors = self.process.stderr.read()
        self.close()
        return errors

    def close(self):
        """End it, if it has not, and close its pipes."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def serve(tmp_path):
    """Start servers; whatever a test does, none stays."""
    started = []

    def start(*words):
        started.append(Server(tmp_path, *words))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    cube, labels = write_scene(folder, planted(height=60, width=60))
    server = Server(folder, cube, "--labels", labels)
    yield server
    errors = server.stop()
    assert "Traceback" not in errors, errors
    assert server.process.returncode == 0


def asked(server, path, **headers):
    """Status, headers and body of a plain request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SLOW)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def upgraded(server, path="/ws", **headers):
    """The status of a request to open the web socket."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
               "Sec-WebSocket-Protocol": "bokeh, x"}  # fmt: skip
    return asked(server, path, **upgrade, **headers)[0]


def cookie_of(server):
    status, headers, _ = asked(server, f"/?token={server.token}")
    assert status == 302
    text = headers["Set-Cookie"]
    assert "HttpOnly" in text
    assert "SameSite=Strict" in text
    return text.partition(";")[0]


def test_every_request_needs_the_token(small):
    for path in ("/", "/static/js/bokeh.min.js", "/?token=wrong", "/ws", "/autoload.js",
                 "/static/extensions/panel/panel.min.js", "/nothing"):  # fmt: skip
        assert asked(small, path)[0] == 403, path
    assert asked(small, "/", Cookie=f"hyperpeft-{small.port}=wrong")[0] == 403
    assert upgraded(small) == 403
    cookie = cookie_of(small)
    assert asked(small, "/static/js/bokeh.min.js", Cookie=cookie)[0] == 200
    status, _, page = asked(small, "/", Cookie=cookie)
    assert status == 200
    assert small.token.encode() not in page
    # Scripts, styles and fonts are all served from here.
    assert re.findall(rb"(?:src|href)=[\"'](?:https?:)?//(?!127\.0\.0\.1)[^\"']*", page) == []


@pytest.mark.parametrize(
    ("problem", "reported"), [(WebSocketClosedError, False), (StreamClosedError, True)]
)
def test_a_page_that_closes_while_it_is_written_to_is_no_error(problem, reported, caplog):
    """Nobody awaits a message that is on its way when the page is closed."""
    served = serve_page(lambda: None)

    async def write():
        raise problem

    async def main():
        served.start()
        asyncio.ensure_future(write())  # noqa: RUF006 -- nobody keeps it, as in Bokeh
        await asyncio.sleep(0.01)
        gc.collect()

    try:
        served._server.io_loop.run_sync(main)
    finally:
        served.stop()
    assert ("never retrieved" in caplog.text) == reported


def test_another_name_or_origin_is_refused(small):
    cookie, here = cookie_of(small), f"127.0.0.1:{small.port}"
    assert asked(small, "/", Cookie=cookie, Host="evil.example")[0] == 403
    assert asked(small, f"/?token={small.token}", Host=f"evil.example:{small.port}")[0] == 403
    assert upgraded(small, Cookie=cookie, Origin="http://evil.example") == 403
    other = f"http://127.0.0.1:{small.port + 1}"
    assert upgraded(small, Cookie=cookie, Origin=other) == 403
    assert asked(small, "/", Cookie=cookie, Host=here)[0] == 200


def test_only_this_machine_is_listened_to(small):
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).is_file():
            pytest.skip("no /proc to see who listens")
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, port = local.split(":")
            if state == "0A" and int(port, 16) == small.port:
                listening.append(address)
    assert listening == ["0100007F"]  # 127.0.0.1
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(("::1", small.port), timeout=5).close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.tif"], "there is no scene 'missing.tif'"),
        (["demo", "--labels", "missing.shp"], "missing.shp"),
        (["demo", "--run", "nowhere"], "nowhere is not a run folder"),
        (["--run", "nowhere"], "nowhere is not a run folder"),
        (["demo", "--port", "TAKEN"], "cannot be used"),
    ],
)
def test_bad_input_is_one_sentence(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [port if word == "TAKEN" else word for word in words]
        monkeypatch.setattr("sys.argv", ["hyperpeft", "explore", *words, "--no-browser"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("hyperpeft.explorer.server.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["hyperpeft", "explore", "demo"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert 'pip install "hyperpeft[explore]"' in capsys.readouterr().err


class Visitor:
    """A page in Chromium, and what it must not do."""

    def __init__(self, browser, url, size=WIDTHS[0]):
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.set_default_timeout(1000 * SLOW)
        self.said, self.abroad = [], []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._request)
        self.page.goto(url)
        self.wait(f"window.Bokeh && Bokeh.documents.length && {MODEL}('scene image')")
        self.wait(f"{MODEL}('scene image').data.image.length")
        self.wait(
            f"(() => {{ try {{ return {MODEL}('map').inner_width }} catch {{ return 0 }} }})()"
        )

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _request(self, request):
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:", "ws://127.0.0.1:")):
            self.abroad.append(request.url)

    def wait(self, condition):
        self.page.wait_for_function(f"() => {condition}")

    def ask(self, expression):
        return self.page.evaluate(f"() => {expression}")

    def place(self, column, row):
        """Where a place of the scene is on the screen."""
        box = self.ask(
            "(() => { const v = [...Bokeh.index.query(v => v.model.name === 'map')][0];"
            " const b = v.el.getBoundingClientRect(); return [b.left, b.top]; })()"
        )
        x0, x1, y0, y1, w, h = self.ask(
            f"(() => {{ const f = {MODEL}('map'); return [f.x_range.start, f.x_range.end,"
            " f.y_range.start, f.y_range.end, f.inner_width, f.inner_height]; })()"
        )
        return (box[0] + (column - x0) / (x1 - x0) * w, box[1] + (y1 - row) / (y1 - y0) * h)

    def click(self, column, row):
        self.page.wait_for_timeout(350)  # two clicks at once would be a double one
        self.page.mouse.click(*self.place(column, row))

    def tab(self, name):
        self.page.locator(".bk-tab", has_text=name).click()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def text(self):
        """All text of the page that is visible."""
        return self.ask(
            "(() => { const out = []; const walk = (n) => { if (n.nodeType === 3) out.push("
            "n.textContent); if (n.shadowRoot) n.shadowRoot.childNodes.forEach(walk);"
            " if (!['STYLE', 'SCRIPT'].includes(n.nodeName)) n.childNodes.forEach(walk); };"
            " walk(document.body); return out.join(' ').replace(/\\s+/g, ' '); })()"
        )

    def wait_for_text(self, pattern):
        end = time.monotonic() + SLOW
        while not (found := re.search(pattern, self.text())):
            assert time.monotonic() < end, f"{pattern} is not in: {self.text()[-1500:]}"
            time.sleep(0.1)
        return found

    def picture(self, name):
        if PICTURES.is_dir() and str(PICTURES) != ".":
            self.page.wait_for_timeout(1500)
            self.page.screenshot(path=PICTURES / f"{name}.png")

    def check(self):
        assert self.said == []
        assert self.abroad == []


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome: install one to check the page")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def draw(visitor, corners):
    for corner in corners:
        before = visitor.ask(f"{MODEL}('draft').data.x.length")
        visitor.click(*corner)
        visitor.wait(f"{MODEL}('draft').data.x.length === {before + 1}")
        visitor.page.wait_for_timeout(350)  # two clicks at once would be a double one
    visitor.page.keyboard.press("Enter")
    visitor.wait(f"{MODEL}('draft').data.x.length === 0")


WATER = [(96.2, 104.1), (101.5, 104.3), (101.1, 109.4), (96.4, 109.0)]
WOOD = [(20.3, 20.2), (36.1, 21.4), (33.7, 38.8), (19.6, 35.5)]


@pytest.mark.timeout(1500)
def test_from_a_scene_to_a_map_and_back(browser, data, tmp_path, serve):
    """Open Potsdam, read a spectrum, draw two classes, train, see the map, start again."""
    server = serve("enmap-potsdam")
    visitor = Visitor(browser, server.url)
    view = open_view("enmap-potsdam")

    # Look: the values of a click are the cube's.
    visitor.click(100.5, 110.5)
    visitor.wait(f"{MODEL}('spectra').data.row.length === 1")
    row, column = (visitor.ask(f"{MODEL}('spectra').data.{n}[0]") for n in ("row", "column"))
    assert (row, column) == (110, 100)
    read = np.array(visitor.ask(f"Array.from({MODEL}('spectra').data.values[0])"))
    np.testing.assert_array_equal(read, view.scene.cube.values[:, row, column])
    visitor.wait_for_text(r"52\.\d+° N, 13\.\d+° E")
    visitor.click(30.5, 30.5)
    visitor.wait(f"{MODEL}('spectra').data.row.length === 2")
    shown = visitor.ask(f"Array.from({MODEL}('scene image').data.image[0].shape)")
    region = slice(0, view.shape[0]), slice(0, view.shape[1])
    values, _ = view.read(view.rgb, *(thinned(s, 1) for s in region))
    assert shown == list(values.shape[1:])
    visitor.picture("look")

    # Label: two classes, whose counts are those of the raster of the same polygons.
    visitor.tab("Label")
    for name, corners in (("Lake", WATER), ("Wood", WOOD)):
        visitor.page.get_by_placeholder("name of a new class").fill(name)
        visitor.press("Add class")
        visitor.wait_for_text(rf"{name}\s+\(0\)")
        draw(visitor, corners)
        visitor.wait_for_text(rf"{name}\s+\([1-9]\d*\)")
    counts = {n: int(visitor.wait_for_text(rf"{n}\s+\((\d+)\)")[1]) for n in ("Lake", "Wood")}
    path = tmp_path / "enmap-potsdam.labels.gpkg"
    with rasterio.open(data / "enmap-potsdam" / "enmap_potsdam.tif") as file:
        transform, grid = file.transform, file.shape
    for name, wkb in saved(path):
        burnt = rasterio.features.rasterize([(wkb, 1)], out_shape=grid, transform=transform)
        assert counts[name] == burnt.sum() > 20
    drawn = dict(saved(path))
    corners = [~transform * xy for xy in shapely.get_coordinates(drawn["Lake"])[:4]]
    np.testing.assert_allclose(sorted(corners), sorted(WATER), atol=0.3)  # pixels of the scene
    visitor.picture("label")

    # Train: the map appears, with scores and the command.
    visitor.tab("Train")
    visitor.page.get_by_label("Method").select_option("svm")
    visitor.press("Train and map")
    visitor.wait_for_text("the same run again|The same run again")
    visitor.wait_for_text(r"Split per-class 10 : 20 pixels train, \d+ test")
    visitor.wait_for_text("Leakage: ")
    command = visitor.wait_for_text(r"hyperpeft train enmap-potsdam --labels \S+ .*?runs/\S+")[0]
    assert "--method svm" in command
    visitor.wait(f"{MODEL}('map image').data.image.length === 1")
    with rasterio.open(tmp_path / "runs" / "enmap-potsdam-1" / "map.tif") as file:
        mapped = file.read(1)
    colours = {1: (0, 114, 178), 2: (0, 90, 60)}
    picture = np.array(visitor.ask(f"Array.from({MODEL}('map image').data.image[0])"), np.uint32)
    rgb = picture.view(np.uint8).reshape(*mapped.shape, 4)
    for number, colour in colours.items():
        assert (rgb[mapped == number][:, :3] == colour).all()
    assert (rgb[mapped == 0][:, 3] == 0).all()
    visitor.picture("train")

    # Suggest and check.
    visitor.tab("Suggest")
    visitor.press("Suggest")
    visitor.wait_for_text(r"20 points of [\d,]+ candidates, 0 labelled")
    visitor.wait(f"{MODEL}('numbered').data.x.length === 20")
    visitor.press("Next")
    visitor.wait_for_text("Point 2: ")
    visitor.press("Lake")
    visitor.wait_for_text("1 labelled")
    visitor.picture("suggest")
    visitor.tab("Check")
    visitor.press("Start")
    visitor.wait_for_text("0 of 100 points answered")
    visitor.press("Wood")
    visitor.wait_for_text("1 of 100 points answered")
    visitor.press("Accuracy and area")
    visitor.picture("check")

    # Another start finds everything, at the other width, and nothing sticks out.
    visitor.check()
    visitor.page.close()
    server.stop(signal.SIGKILL)
    server = serve("enmap-potsdam", "--run", "runs/enmap-potsdam-1")
    visitor = Visitor(browser, server.url, WIDTHS[1])
    visitor.tab("Label")
    visitor.wait_for_text("Continuing with the labels")
    visitor.wait_for_text(rf"Lake\s+\({counts['Lake'] + 1}\)")
    visitor.wait_for_text(rf"Wood\s+\({counts['Wood']}\)")
    visitor.picture("label-1024")
    visitor.tab("Train")
    visitor.wait_for_text("Split per-class 10")
    visitor.wait(f"{MODEL}('map image').data.image.length === 1")
    visitor.picture("train-1024")
    assert visitor.ask("document.documentElement.scrollWidth <= window.innerWidth")
    visitor.check()
    visitor.page.close()
    assert "Traceback" not in server.stop()


def saved(path):
    import pyogrio.raw

    meta, _, wkb, columns = pyogrio.raw.read(path, layer="labels")
    names = dict(zip(meta["fields"], columns, strict=True))["name"]
    return list(zip(names.tolist(), shapely.from_wkb(wkb), strict=True))


@pytest.mark.timeout(900)
def test_tools_keys_and_errors(browser, small):
    """Brush, erase, undo, zoom without a wheel; an error is one sentence in the page."""
    visitor = Visitor(browser, small.url)
    visitor.page.mouse.move(5, 5)
    visitor.page.locator(".bk-tab", has_text="Label").evaluate(  # a key before the tab is there
        "(tab) => { tab.click(); document.dispatchEvent(new KeyboardEvent('keydown', {key: 'e'})) }"
    )
    before = int(visitor.wait_for_text(r"([\d,]+) pixels labelled")[1].replace(",", ""))
    visitor.wait(f"{MODEL}('map').toolbar.active_drag === null")
    start, end = visitor.place(10, 30), visitor.place(50, 30)
    visitor.page.mouse.move(*start)
    visitor.page.mouse.down()
    visitor.page.mouse.move(*end, steps=8)
    visitor.page.mouse.up()
    end = time.monotonic() + SLOW
    while count(visitor) == before and time.monotonic() < end:
        time.sleep(0.1)
    after = count(visitor)
    assert before - 300 < after < before - 100  # 40 pixels long, 4 wide
    visitor.page.keyboard.press("z")
    visitor.wait_for_text(f"{before:,} pixels labelled")
    visitor.page.keyboard.press("y")
    visitor.wait_for_text(f"{after:,} pixels labelled")
    visitor.page.keyboard.press("z")
    span = f"Math.abs({MODEL}('map').x_range.end - {MODEL}('map').x_range.start)"
    whole = visitor.ask(span)
    visitor.page.keyboard.press("+")
    visitor.wait(f"{span} < {0.7 * whole}")
    visitor.press("Whole scene")
    visitor.wait(f"{span} > {0.99 * whole}")
    visitor.page.get_by_label("Add labels from a file").fill("missing.shp")
    visitor.press("Add")
    visitor.wait_for_text(r"error: .*missing\.shp")
    visitor.check()
    visitor.page.close()


def count(visitor):
    return int(visitor.wait_for_text(r"([\d,]+) pixels labelled")[1].replace(",", ""))


def test_a_page_of_another_origin_cannot_reach_it(browser, small, tmp_path):
    """In the browser itself: with the cookie in its jar, a foreign page opens no socket."""
    visitor = Visitor(browser, small.url)
    (tmp_path / "evil.html").write_text("<html><body>evil</body></html>")
    page = visitor.page
    page.goto((tmp_path / "evil.html").as_uri())
    told = page.evaluate(
        """(url) => new Promise((done) => {
          const socket = new WebSocket(url, ['bokeh', 'x']);
          socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })""",
        f"ws://127.0.0.1:{small.port}/ws",
    )
    assert told == "refused"
    read = page.evaluate(
        "(url) => fetch(url, {credentials: 'include'}).then(a => a.text(), e => 'refused')",
        f"http://127.0.0.1:{small.port}/",
    )
    assert read == "refused"
    page.close()


def test_a_coarse_picture_becomes_sharp_when_nothing_else_happens(tmp_path):
    from hyperpeft.explorer import Explorer
    from hyperpeft.explorer.page import Page

    path = large_by_pixel(tmp_path / "big.dat")
    page = Page(Explorer(str(path), folder=tmp_path))

    def side():
        return max(page.map.images["scene"].data["image"][0].shape)

    page.map._look(3000.0, 3000.0, 6.0)
    coarse = side()
    page.look_again()
    assert coarse < side() <= 1300
    sharp, place = side(), page.map.images["scene"].data
    page.look_again()  # it is sharp already
    assert page.map.images["scene"].data is place
    page.map._look(3000.0, 3000.0, 5.0)  # a move shows a coarse one again
    assert side() < sharp
    page.explorer.close()


def test_fewer_points_from_another_page(tmp_path):
    """A page that was at a later point answers the one that it shows, the last."""
    from hyperpeft.explorer.point_tabs import CheckTab, SuggestTab

    scene = planted(height=24, width=24)
    explorer = Explorer(scene, folder=tmp_path)
    explorer.labels.change(lambda labels: labels.with_class("class 1")[0])
    explorer.run = tmp_path
    panel = SimpleNamespace(
        go_to=lambda column, row: None, show_numbers=lambda *points: None,
        glyphs={"map": SimpleNamespace(visible=True)},
    )  # fmt: skip
    places = np.arange(10).reshape(5, 2)
    found = {"candidates": 9, "predicted": ["a"] * 5, "alternative": ["b"] * 5,
             "probability": [0.5] * 5, "file": "s.gpkg"}  # fmt: skip
    explorer.suggestions = {**found, "places": places}
    suggest = SuggestTab(explorer, panel, lambda act: act())
    suggest.go(4)
    explorer.suggestions = {**found, "places": places[:2]}
    suggest.refresh()
    suggest.answer(1)
    assert np.argwhere(explorer.labels.mask()).tolist() == [[2, 3]]
    path = write_map(tmp_path / "m.tif", scene.labels.ids)
    for size in (20, 5):
        sample_map(path, tmp_path / f"{size}.gpkg", size=size, minimum=1)
    check = CheckTab(explorer, panel, lambda act: act())
    explorer.open_check(path=tmp_path / "20.gpkg")
    check.go(19)
    explorer.open_check(path=tmp_path / "5.gpkg")
    check.refresh()
    check.answer("class 1")
    assert explorer.check.answers == ["", "", "", "", "class 1"]
    explorer.close()


def test_the_notebook_variant_is_the_same_page(tmp_path):
    import hyperpeft

    scene = open_scene("demo")
    page = hyperpeft.explore(scene, folder=tmp_path)
    try:
        from bokeh.document import Document

        document = Document()
        document.add_root(page.get_root(document))
        names = {m.name for m in document.roots[0].references() if m.name}
        assert {"map", "chart", "spectra", "scene image"} <= names
        assert isinstance(page.explorer.labels, LabelStore)
    finally:
        page.explorer.close()
