"""The tab Label: classes, tools, undo, files."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn
import shapely
from shapely import Geometry

from hyperpeft.errors import LabelsError
from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.label_set import LabelSet, stroke
from hyperpeft.explorer.map_panel import MapPanel
from hyperpeft.explorer.state import Explorer
from hyperpeft.records import from_hex, to_hex

MOVE, POINT, POLYGON, BRUSH, ERASE = "Move", "Point", "Polygon", "Brush", "Erase"
TOOLS = {name: name for name in (MOVE, POINT, POLYGON, BRUSH, ERASE)}
_SAME = 0.02  # share of what is visible between two taps at one place
_KEYS = (
    "<kbd>1</kbd>&ndash;<kbd>9</kbd> class, <kbd>m</kbd> move, <kbd>p</kbd> point, <kbd>g</kbd> "
    "polygon, <kbd>b</kbd> brush, <kbd>e</kbd> erase, <kbd>Enter</kbd> close the polygon, "
    "<kbd>Esc</kbd> drop it, <kbd>z</kbd> undo, <kbd>y</kbd> redo, <kbd>+</kbd> <kbd>-</kbd> "
    "<kbd>0</kbd> zoom, arrows move, <kbd>h</kbd> hide labels"
)


class LabelTab:
    """Classes and what is drawn for them."""

    title = "Label"

    def __init__(self, explorer: Explorer, panel: MapPanel, guard: w.Guard) -> None:
        self.explorer, self.map, self._guard = explorer, panel, guard
        self.active: int | None = None
        self.vertices: list[tuple[float, float]] = []
        store = explorer.labels
        self.tool = w.group(TOOLS, POLYGON, name="tool")
        w.on_change(self.tool, self._use, guard)
        self.radius = w.slider("Brush radius (pixels)", 2.0, 0.5, 30.0, 0.5, width=180)
        self.close_button = w.button("Close polygon", self.close_polygon, guard, width=110)
        self.undo = w.button("Undo", self.take_back, guard, width=70)
        self.redo = w.button("Redo", self.make_again, guard, width=70)
        self.show = w.check("Show labels", True)
        w.on_change(self.show, self._show, guard)
        self.new_name = w.text_input("", placeholder="name of a new class", width=210)
        w.on_change(self.new_name, self._named, guard)
        self.class_list = pn.Column(sizing_mode="stretch_width", margin=0)
        self.rename = w.text_input("Name", width=170)
        self.colour = pn.widgets.ColorPicker(
            name="Colour", width=70, stylesheets=[w.SHEET], margin=(3, 4)
        )
        self.into = w.select("Merge into", {}, None, width=170)
        self.edit = pn.Card(
            w.row(self.rename, self.colour, w.button("Save", self.save_class, guard, width=60,
                                                     align="end")),
            w.row(self.into, w.button("Merge", self.merge, guard, width=70, align="end"),
                  w.button("Delete class", self.delete, guard, width=100, align="end")),
            title="Edit the chosen class", collapsed=True, sizing_mode="stretch_width",
            margin=(4, 4), stylesheets=[w.SHEET],
        )  # fmt: skip
        self.file = w.text_input("Add labels from a file", width=240, placeholder="FILE[:KEY]")
        self.field = w.text_input("Field", width=80, placeholder="class")
        self.status = w.html()
        self.offer = w.html(visible=store.continued)
        self.afresh = w.button("Start without them", self.start_afresh, guard, width=150)
        self.afresh.visible = store.continued and bool(store.labels.shapes)
        self.own = w.button("Use the scene's own labels", self.add_own, guard, width=200)
        self.own.visible = explorer.has_own_labels()
        if store.continued:
            self.offer.object = (
                f"<p>Continuing with the labels in <b>{escape(str(store.path))}</b>.</p>"
            )
        if store.labels.classes:
            self.active = store.labels.classes[0].id
        self.panel = w.column(
            self.offer, self.afresh,
            self.tool,
            w.row(self.radius, self.close_button),
            w.row(self.undo, self.redo, w.row(self.show, align="center")),
            w.html("<h3>Classes</h3>"),
            self.class_list,
            w.row(self.new_name, w.button("Add class", self.add_class, guard, width=90)),
            self.edit,
            self.status,
            w.html("<h3>Labels from elsewhere</h3>"),
            w.row(self.file, self.field),
            w.row(w.button("Add", self.add_file, guard, width=60), self.own),
            w.html(f'<p class="muted">{_KEYS}</p>'),
        )  # fmt: skip
        self.refresh()

    # Drawing

    def is_drawing(self) -> bool:
        """Whether drags draw."""
        return self.tool.value in (BRUSH, ERASE)

    def _use(self, tool: str) -> None:
        self.drop_polygon()
        self.map.draws(self.is_drawing())

    def tap(self, column: float, row: float) -> None:
        """Use the tool at a place."""
        tool = self.tool.value
        if tool == POINT:
            self._add([shapely.Point(int(column) + 0.5, int(row) + 0.5)])
        elif tool == POLYGON:
            self._chosen()
            self.vertices.append((column, row))
            self._show_draft()
        elif tool == BRUSH:
            self._add([stroke([(column, row)], self.radius.value)])
        elif tool == ERASE:
            self._change(lambda labels: labels.without_shape_at(column, row))

    def double_tap(self, column: float, row: float) -> None:
        """Close the polygon that is being drawn."""
        if self.tool.value == POLYGON and self.vertices:
            self.close_polygon()

    def stroke(self, path: list[tuple[float, float]]) -> None:
        """Paint or erase along a path."""
        area = stroke(path, self.radius.value)
        if self.tool.value == BRUSH:
            self._add([area])
        elif self.tool.value == ERASE:
            self._change(lambda labels: labels.erased(area))

    def close_polygon(self) -> None:
        """Make a polygon of the places that were tapped."""
        region = self.map.visible()
        near = 0.0 if region is None else _SAME * max(region.shape)
        kept: list[tuple[float, float]] = []
        for x, y in self.vertices:  # a double tap is two taps at about one place
            if not kept or abs(x - kept[-1][0]) + abs(y - kept[-1][1]) > min(near, 1.0):
                kept.append((x, y))
        self.drop_polygon()
        if len(kept) < 3:
            raise LabelsError("a polygon needs three corners", hint="tap them on the map")
        polygon = shapely.Polygon(kept)
        self._add([polygon if polygon.is_valid else shapely.make_valid(polygon)])

    def drop_polygon(self) -> None:
        """Forget the places that were tapped."""
        self.vertices = []
        self._show_draft()

    def _show_draft(self) -> None:
        self.map.draft.data = {"x": [v[0] for v in self.vertices],
                               "y": [v[1] for v in self.vertices]}  # fmt: skip

    def _chosen(self) -> int:
        """The class to draw for; the first one is made where there is none."""
        known = {c.id for c in self.explorer.labels.labels.classes}
        if self.active not in known:
            if known:
                self.active = min(known)
            else:
                self._new_class("Class 1")
        assert self.active is not None
        return self.active

    def _add(self, geometries: list[Geometry]) -> None:
        chosen = self._chosen()
        frame = shapely.box(0, 0, self.map.width, self.map.height)
        inside = [g.intersection(frame) for g in geometries]
        self._change(lambda labels: labels.with_shapes(chosen, inside))

    def _change(self, how: Any) -> None:
        self.explorer.labels.change(how)
        self.refresh()

    def take_back(self) -> None:
        """Undo."""
        self.explorer.labels.undo()
        self.refresh()

    def make_again(self) -> None:
        """Redo."""
        self.explorer.labels.redo()
        self.refresh()

    def _show(self, on: bool) -> None:
        self.map.show_labels = on
        self.map.refresh_labels()

    # Classes

    def choose(self, class_id: int) -> None:
        """Draw for a class."""
        self.active = class_id
        self.refresh()

    def choose_number(self, number: int) -> None:
        """Draw for the class of that place in the list, from 1."""
        classes = self.explorer.labels.labels.classes
        if 1 <= number <= len(classes):
            self.choose(classes[number - 1].id)

    def _named(self, name: str) -> None:
        if name:
            self.add_class()

    def add_class(self) -> None:
        """Add the class whose name was typed."""
        name, self.new_name.value = self.new_name.value, ""
        if name:
            self._new_class(name)

    def _new_class(self, name: str) -> None:
        made: list[int] = []

        def add(labels: LabelSet) -> LabelSet:
            changed, new = labels.with_class(name)
            made.append(new.id)
            return changed

        self.explorer.labels.change(add)
        self.active = made[-1]
        self.refresh()

    def save_class(self) -> None:
        """Give the chosen class the name and the colour that were entered."""
        chosen, name, colour = self._chosen(), self.rename.value, from_hex(self.colour.value)
        self._change(lambda labels: labels.renamed(chosen, name).recoloured(chosen, colour))

    def merge(self) -> None:
        """Give the shapes of the chosen class to another."""
        chosen, into = self._chosen(), self.into.value
        if into is not None:
            self._change(lambda labels: labels.merged(chosen, into))
            self.choose(into)

    def delete(self) -> None:
        """Delete the chosen class and its shapes."""
        chosen = self._chosen()
        self._change(lambda labels: labels.without_class(chosen))

    # Files

    def add_file(self) -> None:
        """Add the labels of a file."""
        notes = self.explorer.labels.add_from(self.file.value.strip(), self.field.value or None)
        self.explorer.notes += notes
        self.file.value = ""
        self.refresh()

    def add_own(self) -> None:
        """Add the labels that the scene brings."""
        self.explorer.add_own_labels()
        self.refresh()

    def start_afresh(self) -> None:
        """Begin without labels; the file keeps them under another name."""
        kept = self.explorer.labels.start_afresh()
        self.afresh.visible = False
        self.offer.object = f"<p>The earlier labels are kept in <b>{escape(str(kept))}</b>.</p>"
        self.refresh()

    def refresh(self) -> None:
        """Show classes, counts and the file."""
        store = self.explorer.labels
        labels = store.labels
        index, ids, conflicts = labels.pixels(store.grid)
        counts = {c.id: int((ids == c.id).sum()) for c in labels.classes}
        if self.active not in counts:
            self.active = next(iter(counts), None)
        self._show_classes(counts)
        chosen = next((c for c in labels.classes if c.id == self.active), None)
        self.edit.visible = chosen is not None
        if chosen is not None:
            self.rename.value, self.colour.value = chosen.name, to_hex(chosen.colour)
            others = {c.name: c.id for c in labels.classes if c.id != chosen.id}
            self.into.options = others
            self.into.value = next(iter(others.values()), None)
        self.undo.disabled, self.redo.disabled = not store.can_undo, not store.can_redo
        text = f"{len(index):,} pixels labelled in {len(labels.shapes):,} shapes"
        if len(conflicts):
            text += (
                f"; <b>{len(conflicts):,} in shapes of several classes</b>, black on the map: "
                "they stay without a label"
            )
        self.status.object = f"<p>{text}. Saved in {escape(str(store.path))}.</p>"
        self.map.refresh_labels()

    def _show_classes(self, counts: dict[int, int]) -> None:
        """A button a class; those that are there stay, for the pointer."""
        classes = self.explorer.labels.labels.classes
        if self.class_list.tags != [*counts] or not classes:
            made = [
                w.choice("", c.id, self.choose, self._guard, sizing_mode="stretch_width")
                for c in classes
            ]
            hint = w.html('<p class="muted">No class yet: add one, or just draw.</p>')
            self.class_list.objects, self.class_list.tags = made or [hint], [*counts]
        if not classes:
            return
        for number, (shown, c) in enumerate(zip(self.class_list, classes, strict=True), start=1):
            on = c.id == self.active
            sheet = f"""
            :host(.solid) .bk-btn.bk-btn-default {{ text-align: left; white-space: pre;
              border: 1px solid {w.ACCENT if on else w.LINE}; overflow: hidden;
              border-left: 12px solid {to_hex(c.colour)};
              background-color: {"#e3eff6" if on else "white"};
              font-weight: {600 if on else 400}; }}"""
            shown.name = f"{number}  {c.name}  ({counts[c.id]:,})"
            shown.stylesheets, shown.margin = [w.SHEET, sheet], (1, 6)
