"""The tabs whose points are visited one by one: Suggest, what to label next, and Check."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hyperpeft.assessment import UNSURE, all_tables, assess_map, headline
from hyperpeft.errors import ConfigError
from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.map_panel import MapPanel
from hyperpeft.explorer.state import Explorer
from hyperpeft.runs.file_names import MAP

_OPEN, _DONE = w.ACCENT, "#8a94a0"


class SuggestTab:
    """Options, numbered points, answers."""

    title = "Suggest"

    def __init__(self, explorer: Explorer, panel: MapPanel, guard: w.Guard) -> None:
        self.explorer, self.map, self._guard = explorer, panel, guard
        self.current = 0
        self.count = w.whole("Points", 20, 1, 500, width=80)
        self.measure = w.select(
            "By", {"margin": "margin", "entropy": "entropy", "random sampling": "random"},
            "margin", width=130,
        )  # fmt: skip
        self.diversity = w.select(
            "Diversity", {"k-means++": "kmeans++", "core-set": "core-set", "none": "none"},
            "kmeans++", width=110,
        )  # fmt: skip
        self.distance = w.whole("Least distance", 3, 0, 1000, width=106)
        self.start_button = w.button("Suggest", self.start, guard, kind="primary", width=100)
        self.text = w.html()
        self.classes = w.column()
        self.visit = w.column(
            w.row(
                w.button("Previous", lambda: self.go(self.current - 1), guard, width=80),
                w.button("Next", lambda: self.go(self.current + 1), guard, width=80),
            ),
            w.html("<h3>The class on the ground</h3>"),
            self.classes,
        )
        self.panel = w.column(
            w.html(
                '<p class="muted">Pixels of which the run is least sure, unlike each other and '
                "those that are labelled. Random sampling is the unbiased alternative.</p>"
            ),
            w.row(self.count, self.measure, self.distance),
            w.row(self.diversity, w.row(self.start_button, align="end")),
            self.text,
            self.visit,
        )
        self.refresh()

    def start(self) -> None:
        """Choose points."""
        self.current = 0
        self.explorer.start_suggesting(
            {
                "count": self.count.value, "measure": self.measure.value,
                "diversity": self.diversity.value, "min_distance": float(self.distance.value),
            }
        )  # fmt: skip

    def _places(self) -> np.ndarray:
        found = self.explorer.suggestions
        if found is None:
            return np.empty((0, 2), int)
        places: np.ndarray = found["places"]
        return places

    def go(self, index: int) -> None:
        """Visit a point."""
        places = self._places()
        if not len(places):
            raise ConfigError("there are no suggestions yet", hint="press Suggest")
        self.current = index % len(places)
        row, column = places[self.current]
        self.map.go_to(column + 0.5, row + 0.5)
        self.refresh()

    def answer(self, class_id: int) -> None:
        """Label the point that is visited, and go to the next."""
        row, column = self._places()[self.current]
        point = shapely.Point(column + 0.5, row + 0.5)
        self.explorer.labels.change(lambda labels: labels.with_shapes(class_id, [point]))
        self.go(self.current + 1)

    def refresh(self) -> None:
        """Show the points."""
        explorer, places = self.explorer, self._places()
        running = explorer.job is not None and explorer.job.running
        self.start_button.disabled = running or explorer.run is None
        self.visit.visible = len(places) > 0
        if explorer.run is None:
            self.text.object = "<p>Train a run first: suggestions are of what it is unsure of.</p>"
            return
        if not len(places):
            self.text.object = ""
            return
        self.current = min(self.current, len(places) - 1)  # another page may have asked for fewer
        found: dict[str, Any] = explorer.suggestions or {}
        covered = explorer.labels.mask()
        done = [bool(covered[r, c]) for r, c in places]
        at = self.current
        row, column = places[at]
        self.text.object = (
            f"<p>{len(places)} points of {found['candidates']:,} candidates, {sum(done)} labelled; "
            f"saved in {escape(str(found['file']))}.</p><h3>Point {at + 1}: row {row}, column "
            f"{column}</h3><p>{escape(found['predicted'][at])} "
            f"({100 * found['probability'][at]:.0f} %) or {escape(found['alternative'][at])}?</p>"
        )
        entries = [(c.name, c.id) for c in explorer.labels.labels.classes]
        w.set_choices(self.classes, entries, self.answer, self._guard)

    def show(self) -> None:
        """Put the points on the map."""
        places = self._places()
        covered = self.explorer.labels.mask() if len(places) else None
        fills = [_DONE if covered is not None and covered[r, c] else _OPEN for r, c in places]
        if len(fills):
            fills[min(self.current, len(fills) - 1)] = "#d55e00"
        self.map.show_numbers(places, fills)


class CheckTab:
    """The sample, the point that is judged, the answers; the map's class is not shown."""

    title = "Check"

    def __init__(self, explorer: Explorer, panel: MapPanel, guard: w.Guard) -> None:
        self.explorer, self.map, self._guard = explorer, panel, guard
        self.current = 0
        self.size = w.whole("Points", 100, 2, 10**5, width=90)
        self.file = w.text_input("Or a sample's file", placeholder="points.gpkg", width=150)
        self.draw = w.button("Start", self.start, guard, kind="primary", width=70, align="end")
        self.text, self.result = w.html(), w.html()
        self.classes = w.column()
        self.judge = w.column(
            w.row(
                w.button("Previous", lambda: self.go(self.current - 1), guard, width=80),
                w.button("Next", lambda: self.go(self.current + 1), guard, width=80),
                w.button("Next open", self.go_to_open, guard, width=90),
            ),
            self.classes,
            w.row(
                w.button("Unsure", lambda: self.answer("", UNSURE), guard, width=80),
                w.button("Take back", lambda: self.answer(""), guard, width=90),
            ),
            w.button("Accuracy and area", self.assess, guard, width=150),
            self.result,
        )
        self.panel = w.column(
            w.html(
                '<p class="muted">A stratified random sample of the map. Say what is on the '
                "ground at each point; the map is hidden, so that it does not bias you.</p>"
            ),
            w.row(self.size, self.file, self.draw),
            self.text,
            self.judge,
        )
        self.refresh()

    def start(self) -> None:
        """Draw a sample of the shown map, or open one."""
        path = Path(self.file.value.strip()) if self.file.value.strip() else None
        self.explorer.open_check(self.size.value, path)
        self.go_to_open()

    def go(self, index: int) -> None:
        """Visit a point."""
        check = self.explorer.check
        if check is None:
            raise ConfigError("there is no sample yet", hint="press Start")
        self.current = index % len(check)
        row, column = check.places[self.current]
        self.map.go_to(column + 0.5, row + 0.5)
        self.refresh()
        self.show()

    def go_to_open(self) -> None:
        """Visit the next point without an answer."""
        check = self.explorer.check
        found = None if check is None else check.next_open(self.current - 1)
        self.go(self.current if found is None else found)

    def answer(self, name: str, comment: str = "") -> None:
        """Save what is on the ground, and go to the next open point."""
        check = self.explorer.check
        assert check is not None
        check.answer(self.current, name, comment)
        if name or comment:
            self.go_to_open()
        else:
            self.go(self.current)

    def assess(self) -> None:
        """Accuracy from the answers so far."""
        check, run = self.explorer.check, self.explorer.run
        if check is None or run is None:
            raise ConfigError("assess", expected="a run whose map the sample is of")
        found = assess_map(run / MAP, check.path)
        parts = [f"<p>{escape(headline(found))}</p>"]
        for caption, heads, rows in all_tables(found):
            cells = [[escape(str(value)) for value in row] for row in rows]
            parts.append(f"<h3>{escape(caption)}</h3>")
            parts.append(w.table([escape(h) for h in heads], cells))
        parts.append(w.listing("Notes", list(found.notes)))
        self.result.object = "".join(parts)

    def refresh(self) -> None:
        """Show the point that is visited."""
        explorer, check = self.explorer, self.explorer.check
        self.draw.disabled = explorer.run is None and not self.file.value
        self.judge.visible = check is not None
        if check is None:
            self.text.object = (
                "" if explorer.run is not None else "<p>Train a run first, or give --run.</p>"
            )
            return
        at = self.current = min(self.current, len(check) - 1)  # another page may have opened it
        row, column = check.places[at]
        said = check.answers[at] or check.comments[at] or "open"
        self.text.object = (
            f"<p>{check.done} of {len(check)} points answered; saved in "
            f"{escape(str(check.path))}.</p><h3>Point {at + 1}: row {row}, column {column} "
            f"&ndash; {escape(said)}</h3>"
        )
        names = list(explorer.layer.classes.values()) if explorer.layer is not None else []
        entries = [(name, name) for name in names]
        w.set_choices(self.classes, entries, self.answer, self._guard)

    def show(self) -> None:
        """Put the point on the map, and hide the class map where a sample is judged."""
        check = self.explorer.check
        self.map.glyphs["map"].visible = check is None
        if check is None:
            self.map.show_numbers(np.empty((0, 2), int), [])
            return
        at = min(self.current, len(check) - 1)
        self.map.show_numbers(check.places[at : at + 1], ["#d55e00"], at + 1)
