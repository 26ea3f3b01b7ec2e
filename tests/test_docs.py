"""The documentation: the site builds, its links hold, and what README and pages show runs.

A fenced block of `bash` or `python` is run, the blocks of a page in their order, in a folder with
small generated files. A comment before the fence says otherwise:

    <!-- not run: needs a GPU -->     its commands are only parsed
    <!-- file: compare.yaml -->       its text is written to that file
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag

import geopandas
import matplotlib
import numpy as np
import pytest
import rasterio
import shapely
import typer
import yaml

import hyperpeft
from hyperpeft.cli import COMMANDS, app, main
from hyperpeft.scenes import planted_scene
from tests.helpers.small import CRS, TRANSFORM, write_scene

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    # without the reports, which lie beside their records
    *(p for p in sorted(DOCS.rglob("*.md")) if not p.with_suffix(".jsonl").is_file()),
]
FENCE = re.compile(
    r"(?:^<!-- (not run|file): ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
LANGUAGES = {"bash", "python", "yaml", "text", "mermaid"}
OTHER_PROGRAMS = {"pip", "uv", "dask"}
# Runs that pages use without training them.
TRAINED = {
    "runs/mine": "train scene.tif --labels labels.tif --out runs/mine",
    "runs/krona": "train scene.tif --labels labels.tif --method krona+ --patch-size 5 --epochs 20 "
    "--out runs/krona",
}
QUESTIONS = {
    "How do I label?": "how-to/labels/",
    "Which split?": "how-to/splits/",
    "Why is the accuracy lower with disjoint pixels?": "explanation/leakage/",
    "My file is refused": "how-to/refused-file/",
    "How do I use my GPU?": "how-to/gpu/",
}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the comment before it."""

    language: str
    text: str
    marker: str | None
    detail: str | None

    @property
    def runs(self) -> bool:
        return self.language in ("bash", "python") and self.marker != "not run"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [Block(m[3], m[4], m[1], m[2]) for m in FENCE.finditer(text)]
    assert 2 * len(found) == len(re.findall("^```", text, re.MULTILINE)), "a fence is not closed"
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def lines(text: str) -> Iterator[list[str]]:
    """The words of each command, without `uv run`, variables and comments."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words[:3] == ["uv", "run", "hyperpeft"]:
                words = words[2:]
            if words:
                yield words


def parse(words: list[str]) -> None:
    """Fail unless a command is one of this program with options that it has, or a known one."""
    program, *rest = words
    if program in ("hyperpeft", ".venv/bin/hyperpeft"):
        command = typer.main.get_command(app)
        while rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, f"no command {rest[0]}: {words}"
            command, rest = command.commands[rest[0]], rest[1:]
        # the command itself is loaded when its context is made
        context = command.make_context("hyperpeft", [], resilient_parsing=True)
        context.resilient_parsing = False
        try:
            context.command.make_parser(context).parse_args(list(rest))
        except Exception as error:
            if not hasattr(error, "format_message"):  # of Click, under whatever name it comes
                raise
            pytest.fail(f"{' '.join(words)}: {error.format_message()}")
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]), words
    elif program == "python" and rest[0] == "-c":
        compile(rest[1], "-c", "exec")
    elif program == "python":
        assert (ROOT / rest[0]).is_file(), words
    else:
        assert program in OTHER_PROGRAMS, words
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = {e for word in rest for e in re.findall(r"\[(\w+)\]", word)}
        assert named <= project["optional-dependencies"].keys(), words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are_and_parse(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, block
        if block.language == "bash":
            for words in lines(block.text):
                parse(words)
        elif block.language == "python":
            compile(block.text, name_of(page), "exec")
        elif block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)
            assert block.marker == "file", "a file that no test reads"


def test_commands_in_sentences_parse():
    count = 0
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        prose = FENCE.sub("", page.read_text(encoding="utf-8"))
        for code in re.findall(r"`(?:uv\s+run\s+)?(hyperpeft\s[a-z][^`]*)`", prose):
            parse([w for w in shlex.split(code) if w != "..."])
            count += 1
    assert count > 20


@pytest.mark.parametrize(
    "command",
    [
        "hyperpeft trane scene.tif",
        "hyperpeft train scene.tif --per-klass 10",
        "hyperpeft adapters list runs --out x",
        "python -m tools.missing",
        "python tools/missing.py",
        "pip install '.[missing]'",
        "rm scene.tif",
    ],
)
def test_the_check_of_commands_sees_what_it_must(command):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        parse(shlex.split(command))


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """The files that pages name: two small scenes, two thirds labelled, labels of every kind."""
    folder = tmp_path_factory.mktemp("given")
    for name, seed in (("other", 1), ("scene", 0)):
        whole = planted_scene(height=12, width=48, block=6, bands=20, informative_band=7, seed=seed)
        ids = whole.labels.ids
        some = replace(whole.labels, ids=np.where(np.arange(48) % 24 < 16, ids, 0))
        _, labels = write_scene(folder, whole.with_labels(some), name=name)
        labels.rename(folder / ("labels.tif" if name == "scene" else "other_labels.tif"))
    scene = hyperpeft.open_scene(folder / "scene.tif")
    np.save(folder / "cube_bands_first.npy", scene.cube.values)
    pixel = TRANSFORM.a
    corners = [(r, c) for r in range(0, 12, 6) for c in range(0, 48, 6)]
    boxes = [
        shapely.box(*(TRANSFORM @ (c + 0.1, r + 5.9)), *(TRANSFORM @ (c + 5.9, r + 0.1)))
        for r, c in corners
    ]
    crops = [f"crop {ids[r + 3, c + 3]}" for r, c in corners]
    assert boxes[0].area == pytest.approx((5.8 * pixel) ** 2)
    frame = geopandas.GeoDataFrame({"crop": crops}, geometry=boxes, crs=CRS)
    frame.to_file(folder / "roi.gpkg")
    rows = [f"{r},{c},crop {ids[r, c]}" for r in range(12) for c in range(0, 48, 2)]
    (folder / "points.csv").write_text("\n".join(["row,column,class", *rows]))
    for name, half in (("train.tif", slice(0, 24)), ("test.tif", slice(24, 48))):
        kept = np.zeros_like(ids, np.uint8)
        kept[:, half] = ids[:, half]
        with rasterio.open(folder / "labels.tif") as source:
            profile = source.profile
        with rasterio.open(folder / name, "w", **profile) as file:
            file.write(kept, 1)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Runs that several pages train with the very same command, each trained once."""
    return tmp_path_factory.mktemp("trained")


def call(words: list[str], trained: Path, capsys, monkeypatch) -> None:
    """Run a command of hyperpeft in the current folder, or take the run that it once made."""
    kept = trained / re.sub(r"\W+", "-", " ".join(words))
    same = words[:2] == ["train", "scene.tif"] and not any(w.endswith(".npz") for w in words)
    out = Path(words[words.index("--out") + 1]) if "--out" in words else Path("run")
    if same and kept.is_dir():
        shutil.copytree(kept, out)
        return
    monkeypatch.setattr(sys, "argv", ["hyperpeft", *words])
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"{' '.join(words)}: {capsys.readouterr().err}")
    if same:
        shutil.copytree(out, kept)


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.runs for b in blocks(p))], ids=name_of)
def test_blocks_run(page, given, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    for file in given.iterdir():
        shutil.copy(file, tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.marker == "file":
            Path(block.detail).write_text(block.text)
        if not block.runs:
            continue
        for run, command in TRAINED.items():
            if run in block.text and not Path(run).exists() and f"--out {run}" not in block.text:
                call(command.split(), trained, capsys, monkeypatch)
        if block.language == "python":
            exec(compile(block.text, name_of(page), "exec"), names)
        else:
            for program, *words in lines(block.text):
                assert program == "hyperpeft", f"{program}: not run here, and has no marker"
                call(words, trained, capsys, monkeypatch)


def test_most_blocks_run_and_the_others_say_why():
    every = [b for page in PAGES for b in blocks(page) if b.language in ("bash", "python")]
    left = [b.detail for b in every if not b.runs]
    assert len(left) < 0.4 * len(every)
    reasons = ("needs ", "takes ", "installs packages", "ends with an error")
    assert all(reason.startswith(reasons) for reason in left)


class Page(HTMLParser):
    """Anchors, links and outside resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = {k: v or "" for k, v in attrs}
        self.ids |= {values[k] for k in ("id", "name") if k in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        for key in ("src", "href"):
            if key in values and tag not in ("a",) and values.get("rel") not in ("canonical",):
                self.resources.append(values[key])


def outside(address: str) -> bool:
    return bool(re.match(r"(https?:)?//|mailto:|data:|javascript:", address))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly: a warning is an error."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "NO_MKDOCS_2_WARNING": "1",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def built(site) -> dict[Path, Page]:
    return {
        path: Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def broken(built: dict[Path, Page], site: Path) -> list[str]:
    """Links to files or anchors that are not there."""
    wrong = []
    for path, page in built.items():
        for link in [*page.links, *page.resources]:
            if outside(link):
                continue
            file, anchor = urldefrag(unquote(link))
            target = (path.parent / file).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                wrong.append(f"{path.relative_to(site)}: {link}")
            elif anchor and target in built and anchor not in built[target].ids:
                wrong.append(f"{path.relative_to(site)}: no anchor {link}")
    return wrong


def test_every_link_leads_somewhere(built, site):
    assert len(built) > 30
    assert broken(built, site) == []


def test_the_check_of_links_sees_what_it_must(tmp_path):
    path = tmp_path / "new.html"
    path.write_text('<a href="none/"></a><a href="#no"></a><a href="#a" id="a"></a>')
    assert len(broken({path: Page(path.read_text())}, tmp_path)) == 2


def test_nothing_is_loaded_from_elsewhere(built):
    for path, page in built.items():
        fetched = [r for r in page.resources if outside(r) and not r.startswith("data:")]
        assert fetched == [], path
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"fonts\.googleapis|cdnjs|unpkg\.com|jsdelivr", text), path


def test_five_questions_are_answered_from_the_start_page(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    for question, address in QUESTIONS.items():
        assert re.search(rf"<td>{re.escape(question)}</td>\s*<td><a href=\"{address}\">", text)
        assert (site / address / "index.html").is_file()


def test_the_reference_has_every_command_and_name(site):
    commands = (site / "reference/command-line/index.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"<code>hyperpeft {name}</code>" in commands, name
    names = Page((site / "reference/python/index.html").read_text(encoding="utf-8")).ids
    for name in set(hyperpeft.__all__) - {"__version__"}:
        assert f"hyperpeft.{name}" in names, name


def test_the_figures_are_those_of_the_script(tmp_path):
    """Sizes, since the bytes depend on the release of Matplotlib."""
    from PIL import Image

    from tools.draw_figures import draw_explanations

    for path in draw_explanations(tmp_path):
        with Image.open(path) as new, Image.open(DOCS / "images" / path.name) as committed:
            assert new.size == committed.size
