"""The tab Train: a run as `hyperpeft train` makes it, its map and its scores."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError
from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.map_panel import MapPanel
from hyperpeft.explorer.state import Explorer
from hyperpeft.runs.config import AUTO
from hyperpeft.splits import SPLIT_KINDS

# As `hyperpeft.adapters.METHODS`, which loads torch.
ADAPTERS = ("full", "probe", "lora", "lora+", "krona", "krona+", "lokr")


class TrainTab:
    """Options, the button, the map's layers, scores."""

    title = "Train"

    def __init__(self, explorer: Explorer, panel: MapPanel, guard: w.Guard) -> None:
        self.explorer, self.map, self._guard = explorer, panel, guard
        self.method = w.select("Method", [AUTO, *ADAPTERS, *BASELINES], AUTO, width=120)
        sized = [name for name, kind in SPLIT_KINDS.items() if kind.sized and kind.named]
        self.split = w.select("Split", sized, "random", width=100)
        self.per_class = w.whole("Pixels per class", 10, 1, 10**6, width=106)
        self.seed = w.whole("Seed", 0, 0, 2**31 - 1, width=80)
        self.epochs = w.whole("Epochs", None, 1, 10**4, width=80, placeholder="20")
        self.out = w.text_input("Run folder", placeholder="runs/NAME-1", width=160)
        self.train = w.button("Train and map", self.start, guard, kind="primary", width=150)
        self.layer = w.group(
            {"Scene": "scene", "Classes": "classes", "Confidence": "confidence"}, "classes"
        )
        w.on_change(self.layer, self.show_layer, guard)
        self.opacity = w.slider("Opacity of the map", 0.7, 0.0, 1.0, 0.05, width=200)
        w.on_change(self.opacity, panel.set_opacity, guard)
        panel.set_opacity(0.7)
        self.confidence = w.button(
            "Map the confidence everywhere", self.start_confidence, guard, width=220
        )
        self.other = w.text_input("Show another run", placeholder="run folder", width=220)
        self.legend, self.scores, self.command = w.html(), w.html(), w.html()
        self.result = w.column(
            self.layer, self.opacity, self.legend, self.confidence, self.scores, self.command
        )
        self.panel = w.column(
            w.row(self.method, self.split, self.per_class),
            w.row(self.seed, self.epochs, self.out),
            self.train,
            self.result,
            w.row(self.other, w.button("Show", self.show_other, guard, width=60, align="end")),
        )
        self.refresh()

    def start(self) -> None:
        """Train with the labels as they are."""
        options: dict[str, Any] = {"method": self.method.value}
        for name in ("per_class", "seed", "epochs"):
            value = getattr(self, name).value
            if value is not None and (name != "seed" or value):
                options[name] = value
        if self.split.value != "random":
            options["split"] = self.split.value
        if self.out.value.strip():
            options["out"] = self.out.value.strip()
        self.explorer.start_training(options, self.map.visible())

    def start_confidence(self) -> None:
        """Map the confidence of the shown run."""
        self.explorer.start_confidence()

    def show_other(self) -> None:
        """Show the run of a folder."""
        if not self.other.value.strip():
            raise ConfigError("show a run", expected="a run folder")
        self.explorer.show_run(Path(self.other.value.strip()))

    def show_layer(self, name: str) -> None:
        """Show one layer over the scene."""
        self.map.show_map, self.map.show_confidence = name == "classes", name == "confidence"
        self.map.refresh_map()
        self._show_legend()

    def refresh(self) -> None:
        """Show what there is of a run."""
        explorer = self.explorer
        layer, record = explorer.layer, explorer.record
        running = explorer.job is not None and explorer.job.running
        self.train.disabled = running
        self.result.visible = layer is not None
        self.confidence.visible = bool(
            layer is not None and record is not None and layer.confidence is None
        )
        self.confidence.disabled = running
        self._show_legend()
        self.scores.object = "" if record is None else self._scores()
        command = explorer.command()
        self.command.object = (
            f"<h3>The same run again</h3><code>{escape(command)}</code>" if command else ""
        )
        self.map.refresh_map()

    def _show_legend(self) -> None:
        layer = self.explorer.layer
        if layer is None or self.layer.value == "scene":
            self.legend.object = ""
        elif self.layer.value == "confidence":
            self.legend.object = (
                "<p>Margin between the two best probabilities: "
                '<span style="display:inline-block;width:110px;height:11px;vertical-align:-1px;'
                "background:linear-gradient(90deg,#440154,#3b528b,#21918c,#5cc863,#fde725)"
                '"></span> 0 to 1</p>'
            )
        else:
            parts = [
                f'<span style="white-space:nowrap;margin-right:10px">'
                f"{w.swatch(layer.colours[i])}{escape(name)}</span>"
                for i, name in layer.classes.items()
            ]
            self.legend.object = f"<p>{' '.join(parts)}</p>"

    def _scores(self) -> str:
        record = self.explorer.record
        assert record is not None
        m, split = record.metrics, record.split
        leak = split.get("leakage") or {}
        touched = leak.get("test_windows_touching_train")
        lines = [
            f"<h3>{escape(str(record.adapter['method']))}, {escape(str(self.explorer.run))}</h3>",
            w.table(
                ["", "OA %", "AA %", "kappa &times; 100"],
                [["test pixels", w.number(m["oa"]), w.number(m["aa"]),
                  w.number(m["kappa"])]],
            ),
            f"<p>Split <b>{escape(str(split['kind']))}</b>: {split['train']} pixels train, "
            f"{split['test']} test.</p>",
        ]  # fmt: skip
        if touched is not None:
            hidden = " (hidden while testing)" if leak.get("training_hidden") else ""
            lines.append(
                f"<p>Leakage: {100 * touched:.0f} % of the test pixels see a training pixel in "
                f"their {leak['patch_size']} &times; {leak['patch_size']} window{hidden}.</p>"
            )
        if m.get("confusion"):
            lines.append(self._confusion())
        return "".join(lines) + w.listing("Notes on the run", record.notes)

    def _confusion(self) -> str:
        record = self.explorer.record
        assert record is not None
        counts = np.array(record.metrics["confusion"])
        known = record.class_names
        ids = record.metrics["class_ids"]
        names = {i: known.get(i, str(i)) for i in ids}  # files of a split may have other classes
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        head = "".join(f"<th class=n title='{escape(names[i])}'>{i}</th>" for i in ids)
        body = ""
        for row, i in enumerate(ids):
            cells = "".join(
                f"<td class=n style='background:rgba(15,95,135,{shares[row, k]:.2f});"
                f"color:{'white' if shares[row, k] > 0.55 else w.INK}'>{counts[row, k]:,}</td>"
                for k in range(len(ids))
            )
            share = f"{100 * shares[row, row]:.0f}" if counts[row].any() else "&ndash;"
            body += (
                f"<tr><td style='max-width:96px;overflow:hidden;text-overflow:ellipsis;"
                f"white-space:nowrap'>{i} {escape(names[i])}</td>{cells}<td class=n>{share}</td>"
                "</tr>"
            )
        return (
            "<h3>Confusion: rows true, columns predicted</h3>"
            f"<table><tr><th></th>{head}<th class=n>%</th></tr>{body}</table>"
        )
