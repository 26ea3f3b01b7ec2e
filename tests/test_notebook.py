"""The tutorials run, and say what they said when they were committed.

`python -m tests.test_notebook [NAME ...]` executes them again and writes their outputs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LARGEST = 200_000  # bytes of a committed file
SECONDS = 180  # of the processor: 90 on two cores
PICTURE = "picture"  # tag of a cell whose committed output is a picture of a page


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.ipynb"


def executed(name: str, folder: Path):
    """A notebook, executed in a folder, without what differs from run to run."""
    if name == "explorer":
        pytest.importorskip("panel")
    notebook = nbformat.read(path_of(name), 4)
    pictures = {c.id: c.outputs for c in notebook.cells if PICTURE in c.metadata.get("tags", [])}
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **environment})
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":  # warnings name files of this machine
            cell.outputs = [plain(o) for o in cell.outputs if is_kept(o)]
        cell.update({"outputs": pictures[cell.id]} if cell.id in pictures else {})
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def is_kept(output) -> bool:
    """Not what is said aside, nor the scripts that widgets load."""
    scripts = any(kind.startswith("application/") for kind in output.get("data", {}))
    return output.get("name") != "stderr" and not scripts


def plain(output):
    """What a terminal would show bold, as text."""
    if "text" in output:
        output["text"] = re.sub(r"\x1b\[[\d;]*m", "", output["text"])
    return output


def printed(notebook) -> list[str]:
    """What the cells print, line by line."""
    texts = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    ]
    return "".join(texts).splitlines()


def shown(notebook, kind: str) -> list[str]:
    """What the cells show, of one kind."""
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


def without_numbers(lines: list[str]) -> list[str]:
    """Numbers and the width of columns differ between processors."""
    return [re.sub(r"[ ─━]+", " ", re.sub(r"[\d.,]+", "N", line)) for line in lines]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_runs_and_says_what_it_said(name, tmp_path):
    start = os.times()
    notebook = executed(name, tmp_path)
    used = os.times()
    seconds = used.children_user + used.children_system
    assert seconds - start.children_user - start.children_system < SECONDS
    errors = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert errors == []
    said = printed(notebook)
    assert without_numbers(said) == without_numbers(printed(nbformat.read(path_of(name), 4)))
    text = "\n".join(said)
    assert "False" not in text  # whatever a page claims holds
    CHECKS.get(name, lambda text, folder: None)(text, tmp_path)


def _arrays(text: str, folder: Path) -> None:
    assert float(re.search(r"([\d.]+) % of the pixels without a label", text)[1]) > 95
    assert re.search(r"^True \('y', 'x'\)", text, re.MULTILINE)  # xarray as numpy
    assert (folder / "runs" / "arrays" / "run.json").is_file()


def _areas(text: str, folder: Path) -> None:
    held, of = map(int, re.search(r"(\d+) of (\d+) true areas", text).groups())
    assert of == 8
    assert held >= 6


def _adapters(text: str, folder: Path) -> None:
    assert len(re.findall(r"^KronA:.*rank 144$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^LoRA: .*rank 8$", text, re.MULTILINE)) == 1


def _sharing(text: str, folder: Path) -> None:
    assert float(re.search(r"([\d.]+) % of the pixels are equal", text)[1]) > 99.5


CHECKS = {"arrays": _arrays, "areas": _areas, "adapters": _adapters, "sharing": _sharing}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_outputs_are_small_and_whole(name):
    committed, text = nbformat.read(path_of(name), 4), path_of(name).read_text()
    assert path_of(name).stat().st_size < LARGEST
    assert all(cell.get("execution_count") for cell in committed.cells if cell.cell_type == "code")
    assert ROOT.name != "hyperpeft" or str(ROOT) not in text
    assert "site-packages" not in text
    assert tempfile.gettempdir() + "/" not in text


def test_a_notebook_shows_scenes_and_bars():
    committed = nbformat.read(path_of("arrays"), 4)
    assert len(shown(committed, "image/png")) == 2
    tables = [html for html in shown(committed, "text/html") if "<table>" in html]
    assert any("60 x 80" in table for table in tables)  # the scene
    bars = [html for html in shown(committed, "text/html") if "<progress" in html]
    assert any("loss" in bar for bar in bars)  # training


if __name__ == "__main__":
    for _name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as _place:
            nbformat.write(executed(_name, Path(_place)), path_of(_name))
