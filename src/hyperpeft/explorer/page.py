"""One page: the tabs beside the map, a bar above it, the status below."""

from __future__ import annotations

import logging
from html import escape
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import Div

from hyperpeft.errors import HyperpeftError
from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.label_tab import BRUSH, ERASE, MOVE, POINT, POLYGON, LabelTab
from hyperpeft.explorer.look_tab import LookTab
from hyperpeft.explorer.map_panel import MapPanel
from hyperpeft.explorer.point_tabs import CheckTab, SuggestTab
from hyperpeft.explorer.state import Explorer
from hyperpeft.explorer.train_tab import TrainTab
from hyperpeft.explorer.widgets import Keys

_EVERY = 400  # milliseconds between two looks at what is running
_TOOLS = {"m": MOVE, "p": POINT, "g": POLYGON, "b": BRUSH, "e": ERASE}
_MOVES = {"ArrowLeft": (-0.2, 0), "ArrowRight": (0.2, 0), "ArrowUp": (0, -0.2),
          "ArrowDown": (0, 0.2)}  # fmt: skip
_ZOOM = 1.5
_log = logging.getLogger("hyperpeft.explorer")


class Page:
    """What one visitor sees of an explorer.

    Parameters
    ----------
    explorer : Explorer
    height : int, optional
        In pixels; the whole window by default.
    """

    def __init__(self, explorer: Explorer, height: int | None = None) -> None:
        self.explorer = explorer
        self._seen = (-1, -1)
        self.error = pn.pane.HTML(
            "", visible=False, stylesheets=[w.ERROR], sizing_mode="stretch_width", margin=(4, 6)
        )
        self.map = MapPanel(explorer)
        guard = self.guard
        self.look = LookTab(explorer, self.map, guard)
        self.label = LabelTab(explorer, self.map, guard)
        self.train = TrainTab(explorer, self.map, guard)
        self.suggest = SuggestTab(explorer, self.map, guard)
        self.check = CheckTab(explorer, self.map, guard)
        self.parts: list[Any] = [self.look, self.label, self.train, self.suggest, self.check]
        self.tabs = pn.Tabs(
            *[
                (part.title, pn.Column(part.panel, scroll="y-auto", sizing_mode="stretch_both",
                                       margin=0))
                for part in self.parts
            ],
            sizing_mode="stretch_both", stylesheets=[w.TABS], margin=0,
        )  # fmt: skip
        self.tabs.param.watch(lambda _: guard(self._tab_changed), "active")
        self.map.on_tap = lambda column, row: guard(lambda: self._tapped(column, row))
        self.map.on_double_tap = lambda c, r: guard(lambda: self._double_tapped(c, r))
        self.map.on_stroke = lambda path: guard(lambda: self.label.stroke(path))
        self.pointer = Div(text="", styles={"color": w.MUTED, "font-size": "12px"})
        self.map.follow_pointer(self.pointer)
        self.work = w.html("", margin=(2, 6))
        self.progress = pn.indicators.Progress(
            value=-1, max=100, width=150, height=10, margin=(9, 6), visible=False, active=True
        )
        self.stop = w.button("Cancel", explorer.cancel, guard, width=70)
        self.stop.visible = False
        self.notes = w.html("", margin=(0, 6))
        self.view = self._arrange(height)
        guard(self.look.show)
        guard(self.look.refresh_means)
        self.tick()

    def _arrange(self, height: int | None) -> Any:
        guard = self.guard
        view = self.explorer.view
        size: dict[str, Any] = (
            {"sizing_mode": "stretch_both"}
            if height is None
            else {"height": height, "sizing_mode": "stretch_width"}
        )
        title = w.html(f"<b>{escape(view.name)}</b>", margin=(8, 10))
        bar = pn.Row(
            title,
            w.button("\u2212", lambda: self.map.zoom(_ZOOM), guard, width=34),
            w.button("+", lambda: self.map.zoom(1 / _ZOOM), guard, width=34),
            w.button("Whole scene", self.map.fit, guard, width=100),
            height=40, sizing_mode="stretch_width", margin=0,
            styles={"border-bottom": f"1px solid {w.LINE}"},
        )  # fmt: skip
        status = pn.Row(
            pn.pane.Bokeh(self.pointer, width=330, margin=(5, 10)),
            pn.Spacer(sizing_mode="stretch_width"),
            self.work, self.progress, self.stop,
            height=38, sizing_mode="stretch_width", margin=0,
            styles={"border-top": f"1px solid {w.LINE}"},
        )  # fmt: skip
        side = pn.Column(
            self.error, self.tabs, self.notes,
            width=w.SIDEBAR, sizing_mode="stretch_height", margin=0,
            styles={"border-right": f"1px solid {w.LINE}", "background": w.PAPER},
        )  # fmt: skip
        main = pn.Column(
            bar,
            pn.pane.Bokeh(self.map.figure, sizing_mode="stretch_both", margin=0),
            status,
            sizing_mode="stretch_both", margin=0, styles={"background": w.PAPER},
        )  # fmt: skip
        return pn.Row(side, main, Keys(self._key), margin=0, **size)

    # What users do

    def guard(self, act: w.Act) -> Any:
        """Call a function; an error of the user's is one sentence in the page."""
        with pn.io.unlocked():  # an event that comes while a change waits has no lock
            try:
                result = act()
            except HyperpeftError as problem:
                self._say(str(problem))
            except (OSError, MemoryError) as problem:
                self._say(str(problem) or type(problem).__name__)
            except Exception as problem:
                _log.exception("a defect", stack_info=True)
                self._say(f"a defect: {problem or type(problem).__name__}")
            else:
                self.error.visible = False
                self.tick()
                return result
        return None

    def _say(self, text: str) -> None:
        self.error.object = f"error: {escape(text)}"
        self.error.visible = True

    @property
    def part(self) -> Any:
        """The tab that is open."""
        return self.parts[self.tabs.active]

    def _tab_changed(self) -> None:
        labels = self.part is self.label
        self.map.draws(labels and self.label.is_drawing())
        if not labels:
            self.label.drop_polygon()
        self.map.glyphs["map"].visible = True  # the tab Check hides it
        for part in (self.suggest, self.check):
            if self.part is part:
                part.show()
        if self.part not in (self.suggest, self.check):
            self.map.show_numbers(np.empty((0, 2), int), [])
        if self.part is self.look:
            self.look.refresh_means()
        self.part.refresh()

    def _tapped(self, column: float, row: float) -> None:
        if self.part is self.label and self.label.tool.value != MOVE:
            self.label.tap(column, row)
        else:
            self.look.pick(column, row)

    def _double_tapped(self, column: float, row: float) -> None:
        if self.part is self.label:
            self.label.double_tap(column, row)

    def _key(self, key: str) -> None:
        self.guard(lambda: self._press(key))

    def _press(self, key: str) -> None:
        if key in _MOVES:
            self.map.move(*_MOVES[key])
        elif key in "+-":
            self.map.zoom(1 / _ZOOM if key == "+" else _ZOOM)
        elif key == "0":
            self.map.fit()
        elif self.part is not self.label:
            return
        elif key in _TOOLS:
            self.label.tool.value = _TOOLS[key]
        elif key == "Enter" and self.label.vertices:
            self.label.close_polygon()
        elif key == "Escape":
            self.label.drop_polygon()
        elif key == "z":
            self.label.take_back()
        elif key == "y":
            self.label.make_again()
        elif key == "h":
            self.label.show.value = not self.label.show.value
        elif key.isdigit():
            self.label.choose_number(int(key))

    # What the explorer does meanwhile

    def look_again(self) -> None:
        """As `tick`, on a clock; an error is shown, and one that is shown stays."""
        try:
            self.tick()
            self.map.sharpen()
        except HyperpeftError as problem:
            self._say(str(problem))
        except Exception as problem:
            _log.exception("a defect", stack_info=True)
            self._say(f"a defect: {problem or type(problem).__name__}")

    def tick(self) -> None:
        """Show what has changed, in this page or by another."""
        explorer = self.explorer
        explorer.poll()
        self._show_job()
        now = (explorer.labels.version, explorer.version)
        if now == self._seen:
            return
        labels, rest = (a != b for a, b in zip(now, self._seen, strict=True))
        self._seen = now
        if labels:
            self.label.refresh()
        if rest:
            self.train.refresh()
            self.look.refresh()
        self.suggest.refresh()
        self.check.refresh()
        if self.part in (self.suggest, self.check):
            self.part.show()
        self.notes.object = w.listing("Notes", explorer.notes)

    def _show_job(self) -> None:
        job = self.explorer.job
        running = job is not None and job.running
        self.stop.visible = self.progress.visible = running
        if job is None:
            self.work.object = ""
            return
        if running:
            share = -1 if job.share is None else int(100 * job.share)
            self.progress.value = share
            extra = f": {job.status}" if job.status else ""
            self.work.object = f"{escape(job.title)} &middot; {escape(job.stage + extra)}"
        elif job.state == "failed":
            self.work.object = f"{escape(job.title)} has failed"
            if getattr(self, "_told", None) is not job:
                self._told = job
                self._say(job.error)
        elif job.state == "cancelled":
            self.work.object = f"{escape(job.title)} was cancelled. {escape(job.error)}"
        else:
            self.work.object = f"{escape(job.title)}: done"


def make_page(explorer: Explorer, height: int | None = None) -> Any:
    """A page of an explorer, as a Panel object that looks after itself."""
    page = Page(explorer, height)
    pn.state.add_periodic_callback(page.look_again, period=_EVERY)
    return page.view
