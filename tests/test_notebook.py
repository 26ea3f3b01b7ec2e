"""The notebook of the documentation runs, and says what it said when it was committed.

`python -m tests.test_notebook` executes it again and writes its outputs.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorials" / "arrays.ipynb"
LARGEST = 200_000  # bytes of the committed file
SECONDS = 60  # of the processor


def executed(folder: Path):
    """The notebook, executed in a folder, without what differs from run to run."""
    notebook = nbformat.read(NOTEBOOK, 4)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    )
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # warnings name files of this machine
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


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


def test_the_notebook_runs_and_says_what_it_said(tmp_path):
    committed = nbformat.read(NOTEBOOK, 4)
    start = time.process_time(), os.times()
    notebook = executed(tmp_path)
    used = os.times()
    seconds = used.children_user + used.children_system
    seconds -= start[1].children_user + start[1].children_system
    assert seconds < SECONDS
    said = printed(notebook)
    assert [re.sub(r"[\d.]+", "N", line) for line in said] == [
        re.sub(r"[\d.]+", "N", line) for line in printed(committed)
    ]
    right = float(re.search(r"([\d.]+) % of the pixels without a label", "\n".join(said))[1])
    assert right > 95
    assert said.count("True") >= 1
    assert any(line.startswith("True ('y', 'x')") for line in said)  # xarray as numpy
    assert (tmp_path / "runs" / "arrays" / "run.json").is_file()
    errors = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert errors == []


def test_the_committed_outputs_are_small_and_whole():
    committed = nbformat.read(NOTEBOOK, 4)
    assert NOTEBOOK.stat().st_size < LARGEST
    assert all(cell.get("execution_count") for cell in committed.cells if cell.cell_type == "code")
    assert len(shown(committed, "image/png")) == 2
    tables = [html for html in shown(committed, "text/html") if "<table>" in html]
    assert any("60 x 80" in table for table in tables)  # the scene
    bars = [html for html in shown(committed, "text/html") if "<progress" in html]
    assert any("loss" in bar for bar in bars)  # training
    assert ROOT.name != "hyperpeft" or str(ROOT) not in NOTEBOOK.read_text()
    assert "site-packages" not in NOTEBOOK.read_text()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        nbformat.write(executed(Path(place)), NOTEBOOK)
