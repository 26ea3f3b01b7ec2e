"""The map: the scene's picture, a class map over it, labels, points; pan, zoom, taps and drags.

The axes are in pixels of the scene, row 0 at the top. Only what is visible is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.events import DoubleTap, Pan, PanEnd, PanStart, RangesUpdate, Tap
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    LabelSet,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.plotting import figure

from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.jobs import Region
from hyperpeft.explorer.layers import Stretch, class_picture, false_colour, scale_picture
from hyperpeft.explorer.state import Explorer
from hyperpeft.records import thinned, to_hex

_SHARPEST = 1300  # pixels of a picture a side
_CLOSEST = 8.0  # pixels of the scene across the map
_ACROSS = 60.0  # at most, where the map moves to a place
_CACHED = 24
_OUTLINES = 1500  # shapes whose outlines are drawn

Source = Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]
"""From rows and columns, as slices with steps, to channels (3, h, w), and what is shown (h, w)."""


class MapPanel:
    """The figure and what is in it.

    Parameters
    ----------
    explorer : Explorer
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        height, width, _ = explorer.view.shape
        self.height, self.width = height, width
        self.on_tap: Callable[[float, float], None] = lambda column, row: None
        self.on_double_tap: Callable[[float, float], None] = lambda column, row: None
        self.on_stroke: Callable[[list[tuple[float, float]]], None] = lambda path: None
        self.source: Source | None = None
        self.stretch: Stretch | None = None
        self.key: object = None  # of what `source` and `stretch` show
        self.show_map, self.show_confidence, self.show_labels = True, False, True
        self._cache: OrderedDict[Any, Any] = OrderedDict()
        self._fitted = self._coarse = False
        self._stroke: list[tuple[float, float]] = []
        self._inner: dict[str, int] = {}  # of the figure, as the browser says
        self.size = (900, 700)
        self._make()

    def _make(self) -> None:
        self.x, self.y = Range1d(0, self.width), Range1d(self.height, 0)
        self.pan = PanTool()
        wheel = WheelZoomTool(zoom_on_axis=False)
        self.figure = figure(
            x_range=self.x, y_range=self.y, tools=[self.pan, wheel], toolbar_location=None,
            sizing_mode="stretch_both", min_height=320, min_border=0, outline_line_color=None,
            background_fill_color="#e9ecef", name="map",
        )  # fmt: skip
        self.figure.toolbar.active_drag, self.figure.toolbar.active_scroll = self.pan, wheel
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        empty: dict[str, list[Any]] = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
        self.images = {
            n: ColumnDataSource(dict(empty), name=f"{n} image") for n in ("scene", "map", "labels")
        }
        self.glyphs = {
            n: self.figure.image_rgba("image", "x", "y", "dw", "dh", source=s)
            for n, s in self.images.items()
        }
        self.outlines = ColumnDataSource({"xs": [], "ys": [], "colour": []}, name="outlines")
        self.figure.multi_polygons(
            "xs", "ys", source=self.outlines, fill_alpha=0, line_color="colour", line_width=1.6
        )
        self.draft = ColumnDataSource({"x": [], "y": []}, name="draft")
        self.figure.line("x", "y", source=self.draft, line_color="white", line_width=4)
        self.figure.line("x", "y", source=self.draft, line_color=w.INK, line_width=2)
        self.figure.scatter("x", "y", source=self.draft, size=7, fill_color="white",
                            line_color=w.INK)  # fmt: skip
        self.points = ColumnDataSource({"x": [], "y": [], "colour": []}, name="points")
        self.figure.scatter("x", "y", source=self.points, size=9, fill_color="colour",
                            line_color="white", line_width=1.5)  # fmt: skip
        self.picks = ColumnDataSource({"x": [], "y": [], "colour": []}, name="picks")
        self.figure.scatter("x", "y", source=self.picks, size=15, marker="circle_cross",
                            fill_alpha=0.0, line_color="colour", line_width=2.5)  # fmt: skip
        self.numbered = ColumnDataSource(
            {"x": [], "y": [], "text": [], "fill": []}, name="numbered"
        )
        self.figure.scatter("x", "y", source=self.numbered, size=20, fill_color="fill",
                            line_color="white", line_width=1.5)  # fmt: skip
        self.figure.add_layout(
            LabelSet(x="x", y="y", text="text", source=self.numbered, text_align="center",
                     text_baseline="middle", text_font_size="10px", text_color="white")
        )  # fmt: skip
        self._listen()

    def _listen(self) -> None:
        on = self.figure.on_event
        on(Tap, lambda e: self._inside(e) and self.on_tap(e.x, e.y))
        on(DoubleTap, lambda e: self._inside(e) and self.on_double_tap(e.x, e.y))
        on(PanStart, lambda e: self._drag(e, "start"))
        on(Pan, lambda e: self._drag(e, "move"))
        on(PanEnd, lambda e: self._drag(e, "end"))
        on(RangesUpdate, lambda e: self.refresh())
        for name in ("inner_width", "inner_height"):
            self.figure.on_change(name, self._resized)

    def follow_pointer(self, target: Any) -> None:
        """Write where the pointer is into a Bokeh Div, without asking the server."""
        transform = list(self.explorer.view.transform or [])
        code = """
const [x, y] = [cb_obj.x, cb_obj.y];
if (x == null || x < 0 || y < 0 || x >= width || y >= height) { target.text = ''; return }
const row = Math.floor(y), column = Math.floor(x);
let text = `row ${row}, column ${column}`;
if (transform.length) {
  const [a, b, c, d, e, f] = transform;
  const show = (v) => v.toFixed(Math.abs(a) + Math.abs(b) < 0.01 ? 6 : 1);
  text += ` &middot; x ${show(a * x + b * y + c)}, y ${show(d * x + e * y + f)}`;
}
target.text = text;
"""
        args = {"target": target, "transform": transform, "width": self.width,
                "height": self.height}  # fmt: skip
        self.figure.js_on_event("mousemove", CustomJS(args=args, code=code))
        self.figure.js_on_event("mouseleave", CustomJS(args=args, code="target.text = ''"))

    def draws(self, on: bool) -> None:
        """Let drags draw, instead of moving the map."""
        self.figure.toolbar.active_drag = None if on else self.pan

    # What is visible

    def visible(self) -> Region | None:
        """The pixels of the scene in view; None where there are none."""
        x0, x1 = sorted((float(self.x.start), float(self.x.end)))
        y0, y1 = sorted((float(self.y.start), float(self.y.end)))
        left, right = max(0, int(np.floor(x0))), min(self.width, int(np.ceil(x1)))
        top, bottom = max(0, int(np.floor(y0))), min(self.height, int(np.ceil(y1)))
        if right <= left or bottom <= top:
            return None
        return Region(top, left, bottom, right)

    def fit(self) -> None:
        """Show the whole scene."""
        self._look(self.width / 2, self.height / 2, self._scale_to_fit())

    def zoom(self, factor: float) -> None:
        """Show more (above 1) or less around the middle."""
        x, y, scale = self._where()
        self._look(x, y, scale * factor)

    def move(self, right: float, down: float) -> None:
        """Move by shares of what is visible."""
        x, y, scale = self._where()
        self._look(x + right * scale * self.size[0], y + down * scale * self.size[1], scale)

    def go_to(self, column: float, row: float) -> None:
        """Put a place in the middle, with at most `_ACROSS` pixels across the map."""
        _, _, scale = self._where()
        self._look(column, row, min(scale, _ACROSS / min(self.size)))

    def _where(self) -> tuple[float, float, float]:
        """The middle, and pixels of the scene per pixel of the screen."""
        x0, x1, y0, y1 = (float(v) for v in (self.x.start, self.x.end, self.y.start, self.y.end))
        return (x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0) / self.size[0]

    def _scale_to_fit(self) -> float:
        return max(self.width / self.size[0], self.height / self.size[1])

    def _look(self, x: float, y: float, scale: float) -> None:
        least = _CLOSEST / max(self.size)
        scale = float(np.clip(scale, least, 4 * self._scale_to_fit()))
        across, down = scale * self.size[0] / 2, scale * self.size[1] / 2
        self.x.update(start=x - across, end=x + across)
        self.y.update(start=y + down, end=y - down)
        self.refresh()

    def _resized(self, name: str, _: object, new: int) -> None:
        self._inner[name] = new
        if len(self._inner) < 2 or min(self._inner.values()) < 1:
            return
        width, height = self._inner["inner_width"], self._inner["inner_height"]
        if (width, height) == self.size:
            return
        x, y, scale = self._where()
        first, self._fitted = not self._fitted, True
        self.size = (int(width), int(height))
        self.fit() if first else self._look(x, y, scale)

    # Pictures

    def refresh(self, *, quick: bool = True) -> None:
        """Read and show what is visible: where that takes long a coarse picture, see `sharpen`."""
        place = self._window(quick=quick)
        self._coarse = quick and place != self._window()
        if place is None or self.source is None or self.stretch is None:
            return
        rows, columns = place
        window = (rows.start, rows.stop, columns.start, columns.stop, rows.step)
        source, stretch = self.source, self.stretch

        def draw() -> np.ndarray:
            values, shown = source(rows, columns)
            return false_colour(values, shown, stretch)

        picture = self._cached(("scene", self.key, window), draw)
        self._place("scene", picture, rows, columns)
        self.refresh_map(rows, columns)
        self.refresh_labels(rows, columns)

    def sharpen(self) -> None:
        """Show the sharp picture where a coarse one stands; called while nothing else happens."""
        if self._coarse:
            self.refresh(quick=False)

    def _window(self, *, quick: bool = False) -> tuple[slice, slice] | None:
        region = self.visible()
        if region is None:
            return None
        # A little more than is visible, from a grid, so that small moves need no new picture.
        rows, columns = (
            _grown(span, size)
            for span, size in zip(region.inside, (self.height, self.width), strict=True)
        )
        step = self.explorer.view.step_for(rows, columns, _SHARPEST, quick=quick)
        return thinned(rows, step), thinned(columns, step)

    def refresh_map(self, *window: Any) -> None:
        """Show the class map or its confidence, where there is one."""
        place = window or self._window()
        layer = self.explorer.layer
        if not place or layer is None or not (self.show_map or self.show_confidence):
            self._hide("map")
            return
        rows, columns = place
        if self.show_confidence and layer.has_confidence:
            picture = scale_picture(layer.margin(rows, columns))
        else:
            picture = class_picture(layer.ids(rows, columns), layer.colours)
        self._place("map", picture, rows, columns)

    def refresh_labels(self, *window: Any) -> None:
        """Show the labels: their pixels, outlines and conflicts."""
        place = window or self._window()
        labels = self.explorer.labels.labels
        if not place or not self.show_labels or not labels.shapes:
            self._hide("labels")
            self.outlines.data = {"xs": [], "ys": [], "colour": []}
            self.points.data = {"x": [], "y": [], "colour": []}
            return
        rows, columns = place
        colours = {c.id: c.colour for c in labels.classes}
        index, ids, conflicts = labels.pixels((self.height, self.width))
        step = rows.step
        size = tuple(len(range(s.start, s.stop, step)) for s in (rows, columns))
        top, left = rows.start - step // 2, columns.start - step // 2
        shown = np.zeros(size, np.int32)
        for places, values in ((index, ids), (conflicts, np.full(len(conflicts), -1))):
            r, c = np.divmod(places, self.width)
            r, c = (r - top) // step, (c - left) // step
            inside = (r >= 0) & (r < size[0]) & (c >= 0) & (c < size[1])
            r, c = r[inside], c[inside]
            shown[r, c] = values[inside]
        picture = class_picture(shown, {**colours, -1: (0, 0, 0)}, alpha=150)
        self._place("labels", picture, rows, columns)
        self._outline(rows, columns, colours)

    def _outline(self, rows: slice, columns: slice, colours: dict[int, Any]) -> None:
        xs: list[Any] = []
        ys: list[Any] = []
        line, px, py, fill = [], [], [], []
        for shape in self.explorer.labels.labels.shapes:
            west, north, east, south = shape.geometry.bounds
            if east < columns.start or west > columns.stop:
                continue
            if south < rows.start or north > rows.stop:
                continue
            colour = to_hex(colours[shape.class_id])
            if shape.geometry.geom_type == "Point":
                px.append(shape.geometry.x)
                py.append(shape.geometry.y)
                fill.append(colour)
            elif len(xs) < _OUTLINES:
                rings = [shape.geometry.exterior, *shape.geometry.interiors]
                parts = [np.asarray(ring.coords) for ring in rings]
                xs.append([[part[:, 0].tolist() for part in parts]])
                ys.append([[part[:, 1].tolist() for part in parts]])
                line.append(colour)
        self.outlines.data = {"xs": xs, "ys": ys, "colour": line}
        self.points.data = {"x": px, "y": py, "colour": fill}

    def set_opacity(self, value: float) -> None:
        """Of the class map."""
        self.glyphs["map"].glyph.global_alpha = value

    def show_numbers(self, places: np.ndarray, fills: list[str], first: int = 1) -> None:
        """Points at rows and columns (n, 2), numbered from `first` on."""
        n = len(places)
        self.numbered.data = {
            "x": (places[:, 1] + 0.5).tolist() if n else [],
            "y": (places[:, 0] + 0.5).tolist() if n else [],
            "text": [str(i) for i in range(first, first + n)],
            "fill": fills,
        }

    def _place(self, name: str, picture: np.ndarray, rows: slice, columns: slice) -> None:
        high, wide = picture.shape
        step = rows.step
        self.images[name].data = {
            "image": [picture], "x": [columns.start - step // 2], "y": [rows.start - step // 2],
            "dw": [wide * step], "dh": [high * step],
        }  # fmt: skip

    def _hide(self, name: str) -> None:
        if len(self.images[name].data["image"]):
            self.images[name].data = {"image": [], "x": [], "y": [], "dw": [], "dh": []}

    def _cached(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        if key not in self._cache:
            self._cache[key] = make()
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        found: np.ndarray = self._cache[key]
        return found

    # Taps and drags

    def _inside(self, event: Any) -> bool:
        return (
            event.x is not None
            and event.y is not None
            and 0 <= event.x < self.width
            and 0 <= event.y < self.height
        )

    def _drag(self, event: Any, what: str) -> None:
        if self.figure.toolbar.active_drag is not None or event.x is None or event.y is None:
            self._stroke = []
            return
        if what == "start":
            self._stroke = []
        self._stroke.append((float(event.x), float(event.y)))
        if what == "end":
            path, self._stroke = self._stroke, []
            self.draft.data = {"x": [], "y": []}
            self.on_stroke(path)
        else:
            self.draft.data = {"x": [p[0] for p in self._stroke],
                               "y": [p[1] for p in self._stroke]}  # fmt: skip


def _grown(span: slice, size: int) -> slice:
    """A span with a little more at either end, between the lines of a grid."""
    grid = 2 ** max(0, int(np.log2(max(1, (span.stop - span.start) / 10))))
    return slice(span.start // grid * grid, min(size, -(-span.stop // grid) * grid))
