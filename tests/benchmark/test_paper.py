"""paper.yaml from the files of the five public scenes to the report, on stand-ins.

The files have the published names, variables, types, bands and classes; rows, columns and counts
are an eighth, and the cards are made to match, so that opening verifies them as it does the real
ones. An encoder of 1/2000 of the weights stands in for SpectralGPT+.
"""

from __future__ import annotations

import json

from hyperpeft.benchmark.grid import expand, read_bench
from hyperpeft.benchmark.run import run_bench
from hyperpeft.report import write_report
from hyperpeft.scenes.catalog.cards import CARDS
from tests.helpers.public_checkpoints import PAPER, smaller, write_public
from tests.helpers.small import HEADS, checkpoint


def test_the_paper_end_to_end(tmp_path, monkeypatch):
    for name in PAPER:
        monkeypatch.setitem(CARDS, name, smaller(CARDS[name], 12))
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    write_public(tmp_path / "data", CARDS)
    weights = checkpoint(tmp_path / "e.safetensors")
    bench = read_bench("paper", {"maps": "none", "threads": 1})
    stand_in = {"backbone": str(weights), "num_heads": HEADS, "epochs": 1, "patch_size": 3}
    cells = expand(bench, seeds=[0], options=stand_in)
    assert len(cells) == 5 * 7
    outcomes = run_bench(bench, cells, tmp_path / "out")
    assert [o.reason for o in outcomes if o.state != "done"] == []
    record = json.loads(
        (tmp_path / "out/cells/houston-2013/benchmark/standard/krona+/seed-0/run.json").read_text()
    )
    assert record["split"]["kind"] == "official"
    assert record["split"]["train"] == sum(CARDS["houston-2013"].train_counts)
    page = write_report(tmp_path / "out", tmp_path / "out" / "report")[0].read_text()
    for name in PAPER:
        assert f'id="scene-{name}"' in page
