"""The tab Look: bands and stretch, spectra of pixels and classes, what the file says of itself."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import BoxAnnotation, ColumnDataSource, Range1d
from bokeh.plotting import figure
from rasterio.crs import CRS
from rasterio.warp import transform as reproject

from hyperpeft.explorer import widgets as w
from hyperpeft.explorer.layers import COMPONENTS, Components, Stretch, presets
from hyperpeft.explorer.map_panel import MapPanel
from hyperpeft.explorer.state import Explorer
from hyperpeft.records import from_hex, to_hex

_OWN = "bands"
_KEPT = 8  # spectra beside each other
_MEAN_OF = 40  # pixels of a class
_COMPONENT_SIDE = 420  # pixels a side at most: all bands are read
STRETCHES = {"min to max": 0.0, "0.5 %": 0.5, "2 %": 2.0, "5 %": 5.0}


class LookTab:
    """Bands, contrast, spectra, notes."""

    title = "Look"

    def __init__(self, explorer: Explorer, panel: MapPanel, guard: w.Guard) -> None:
        self.explorer, self.map, self._guard = explorer, panel, guard
        view = explorer.view
        self._components: Components | None = None
        self._samples: dict[Any, np.ndarray] = {}
        self._means: tuple[int, list[Any]] = (-1, [])
        self.found = presets(view)
        names = [n for n in self.found if n != "default" or len(self.found) == 1]
        start = "natural" if "natural" in self.found else "default"
        options = [*(names or ["default"]), COMPONENTS, _OWN]
        self.preset = w.select("Picture", options, start, width=170)
        self.cut = w.select("Contrast: cut off", STRETCHES, 2.0, width=150)
        bands = {self._band_name(i): i for i in np.flatnonzero(view.good).tolist()}
        first = self.found[start]
        self.bands = [
            w.select(name, bands, band, width=106)
            for name, band in zip(("Red", "Green", "Blue"), first, strict=True)
        ]
        self.band_row = w.row(*self.bands, visible=False)
        for widget in (self.preset, self.cut, *self.bands):
            w.on_change(widget, lambda _: self.show(), guard)
        self.show_means = w.check("Class means", True)
        w.on_change(self.show_means, lambda _: self.refresh_means(), guard)
        self.readout = w.html(self._hint(), name="readout")
        self.report = w.html(self._report())
        self._examine = w.button("Examine every pixel", self._start_examining, guard, width=160)
        self._examine.visible = view.scene is None
        self._make_chart()
        self.panel = w.column(
            w.row(self.preset, self.cut),
            self.band_row,
            w.row(
                w.html("<h3>Spectra</h3>", width=150, sizing_mode=None),
                w.row(self.show_means, align="center"),
                w.button("Clear", self.clear, guard, width=60),
            ),
            self.chart,
            self.readout,
            w.html("<h3>Scene</h3>"),
            self.report,
            self._examine,
        )  # fmt: skip

    # The picture

    def _band_name(self, band: int) -> str:
        centres = self.explorer.view.wavelengths
        return f"band {band + 1}" if centres is None else f"{band + 1}: {centres[band]:.0f} nm"

    def show(self) -> None:
        """Show the chosen picture."""
        kind = self.preset.value
        self.band_row.visible = kind == _OWN
        if kind in self.found:
            for widget, band in zip(self.bands, self.found[kind], strict=True):
                widget.value = band
        view = self.explorer.view
        if kind == COMPONENTS:
            key: Any = COMPONENTS
            components = self._fitted()
            bands = components.bands.tolist()

            def source(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
                step = rows.step or 1
                coarse = view.step_for(rows, columns, _COMPONENT_SIDE, len(bands), quick=True)
                factor = max(1, -(-coarse // step))
                thin = (slice(s.start, s.stop, step * factor) for s in (rows, columns))
                values, shown = view.read(bands, *thin)
                y, x = (
                    np.arange(len(range(s.start, s.stop, step))) // factor for s in (rows, columns)
                )
                return components.of(values)[:, y][:, :, x], shown[y][:, x]
        else:
            chosen = [int(widget.value) for widget in self.bands]
            key = tuple(chosen)

            def source(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
                return view.read(chosen, rows, columns)

        if key not in self._samples:
            self._samples[key] = (
                self._components.of(view.sample(self._components.bands.tolist()))
                if key == COMPONENTS and self._components is not None
                else view.sample(list(key))
            )
        self.map.source = source
        self.map.stretch = Stretch.of(self._samples[key], self.cut.value)
        self.map.key = (key, self.cut.value, view.scene is None)
        self.map.refresh()

    def _fitted(self) -> Components:
        if self._components is None:
            self._components = Components.fit(self.explorer.view)
        return self._components

    # Spectra

    def _make_chart(self) -> None:
        view = self.explorer.view
        centres = view.wavelengths
        self.x = np.arange(1, view.shape[2] + 1) if centres is None else centres
        steps = np.diff(np.sort(self.x)) if len(self.x) > 1 else np.ones(1)
        self.widest = 5 * float(np.median(steps))  # between two bands that are neighbours
        self.chart_figure = figure(
            x_range=Range1d(float(min(self.x)), float(max(self.x))), y_range=Range1d(0, 1),
            height=230, sizing_mode="stretch_width", toolbar_location=None, tools="",
            x_axis_label="band" if centres is None else "wavelength (nm)", min_border_left=44,
            name="chart",
        )  # fmt: skip
        fig = self.chart_figure
        fig.axis.axis_label_text_font_style = "normal"
        fig.axis.axis_label_text_font_size = fig.axis.major_label_text_font_size = "11px"
        fig.axis.minor_tick_line_color = None
        fig.grid.grid_line_color = "#eceff2"
        fig.outline_line_color = None
        for left, right in self._bad_spans():
            fig.add_layout(BoxAnnotation(left=left, right=right, fill_color="#dfe3e8",
                                         fill_alpha=0.7, line_color=None))  # fmt: skip
        names: dict[str, list[Any]] = {"xs": [], "ys": [], "colour": [], "label": []}
        self.bad_lines = ColumnDataSource(dict(names), name="bad")
        fig.multi_line("xs", "ys", source=self.bad_lines, line_color="#aab3bd", line_width=1)
        self.mean_lines = ColumnDataSource(dict(names), name="means")
        fig.multi_line("xs", "ys", source=self.mean_lines, line_color="colour", line_width=1.5,
                       line_dash=[5, 3])  # fmt: skip
        self.spectra = ColumnDataSource(
            {**names, "row": [], "column": [], "values": []}, name="spectra"
        )
        fig.multi_line("xs", "ys", source=self.spectra, line_color="colour", line_width=2)
        self.chart = pn.pane.Bokeh(fig, sizing_mode="stretch_width", margin=(2, 4))

    def _bad_spans(self) -> list[tuple[float, float]]:
        """Stretches of the axis that are of bad bands."""
        good, x = self.explorer.view.good, np.asarray(self.x, float)
        spans: list[tuple[float, float]] = []
        order = np.argsort(x)
        half = np.median(np.diff(x[order])) / 2 if len(x) > 1 else 0.5
        for i in order[~good[order]]:
            if spans and x[i] - half <= spans[-1][1] + half:
                spans[-1] = (spans[-1][0], x[i] + half)
            else:
                spans.append((x[i] - half, x[i] + half))
        return spans

    def _lines(self, values: np.ndarray) -> tuple[list[float], list[float]]:
        """Good bands in the order of their wavelengths, with breaks where bands are bad."""
        good = self.explorer.view.good
        order = np.argsort(self.x, kind="stable")
        y = np.where(good & np.isfinite(values), values, np.nan)[order]
        x = np.asarray(self.x, float)[order]
        wide = np.flatnonzero(np.diff(x) > self.widest) + 1
        return np.insert(x, wide, x[wide]).tolist(), np.insert(y, wide, np.nan).tolist()

    def pick(self, column: float, row: float) -> None:
        """Add the spectrum of the pixel at a place."""
        r, c = int(row), int(column)
        view = self.explorer.view
        values, valid = view.spectrum(r, c)
        old = {name: list(entries)[-(_KEPT - 1) :] for name, entries in self.spectra.data.items()}
        colour = next(x for x in w.LINES if x not in old["colour"])
        xs, ys = self._lines(values)
        bad = np.where(view.good, np.nan, values)
        order = np.argsort(self.x, kind="stable")
        self.spectra.data = {
            "xs": [*old["xs"], xs], "ys": [*old["ys"], ys], "colour": [*old["colour"], colour],
            "label": [*old["label"], f"{r}, {c}"], "row": [*old["row"], r],
            "column": [*old["column"], c],
            "values": [*old["values"], [float(v) for v in values[view.good]]],
        }  # fmt: skip
        bad_old = {k: list(v)[-(_KEPT - 1) :] for k, v in self.bad_lines.data.items()}
        new = {
            "xs": np.asarray(self.x, float)[order].tolist(),
            "ys": bad[order].tolist(),
            "colour": colour,
            "label": "",
        }
        self.bad_lines.data = {k: [*bad_old[k], new[k]] for k in bad_old}
        self._mark()
        self.readout.object = self._place_text(r, c, valid)

    def clear(self) -> None:
        """Forget the spectra."""
        for source in (self.spectra, self.bad_lines):
            source.data = {name: [] for name in source.data}
        self._mark()
        self.readout.object = self._hint()

    def _frame(self) -> None:
        """Fit the axis to what is drawn of good bands."""
        lines = [*self.spectra.data["ys"], *self.mean_lines.data["ys"]]
        values = np.concatenate([np.asarray(line, float) for line in lines] or [np.array([0, 1.0])])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = float(values.min()), float(values.max())
            room = 0.05 * (high - low) or 0.5
            self.chart_figure.y_range.update(start=low - room, end=high + room)

    def _mark(self) -> None:
        self._frame()
        data = self.spectra.data
        self.map.picks.data = {
            "x": [c + 0.5 for c in data["column"]], "y": [r + 0.5 for r in data["row"]],
            "colour": list(data["colour"]),
        }  # fmt: skip

    def refresh_means(self) -> None:
        """Mean spectra of the labels, of some pixels a class."""
        store = self.explorer.labels
        empty: dict[str, list[Any]] = {"xs": [], "ys": [], "colour": [], "label": []}
        if not self.show_means.value:
            self.mean_lines.data = empty
            self._frame()
            return
        if self._means[0] != store.version:
            self._means = (store.version, self._class_means())
        lines = self._means[1]
        self.mean_lines.data = {
            "xs": [line[0] for line in lines], "ys": [line[1] for line in lines],
            "colour": [line[2] for line in lines], "label": [line[3] for line in lines],
        }  # fmt: skip
        self._frame()

    def _class_means(self) -> list[Any]:
        view, store = self.explorer.view, self.explorer.labels
        index, ids, _ = store.labels.pixels(store.grid)
        lines = []
        random = np.random.default_rng(0)
        for c in store.labels.classes:
            members = index[ids == c.id]
            if not len(members):
                continue
            places = random.permutation(members)[:_MEAN_OF]
            found = [view.spectrum(*divmod(int(i), view.shape[1])) for i in places]
            valid = [values for values, good in found if good]
            if valid:
                xs, ys = self._lines(np.mean(valid, axis=0))
                lines.append((xs, ys, to_hex(c.colour), c.name))
        return lines

    def _hint(self) -> str:
        return '<p class="muted">Click a pixel in the map to see its spectrum.</p>'

    def _place_text(self, row: int, column: int, valid: bool) -> str:
        view = self.explorer.view
        parts = [f"row {row}, column {column}"]
        place = view.place_of(row + 0.5, column + 0.5)
        if place is not None:
            digits = 6 if abs((view.transform or (1,))[0]) < 0.01 else 1
            parts.append(f"x {place[0]:.{digits}f}, y {place[1]:.{digits}f}")
            degrees = _degrees(view.crs, place)
            if degrees:
                parts.append(degrees)
        if not valid:
            parts.append("<b>no data</b>")
        data = self.spectra.data
        legend = " ".join(
            f'<span style="white-space:nowrap">{w.swatch(from_hex(colour))}{label}</span>'
            for colour, label in zip(data["colour"], data["label"], strict=True)
        )
        return f"<p>{' &middot; '.join(parts)}</p><p class='muted'>{legend}</p>"

    # The file

    def _start_examining(self) -> None:
        self.explorer.start_examining()
        self._examine.visible = False

    def refresh(self) -> None:
        """After the scene has been examined."""
        self._examine.visible = self.explorer.view.scene is None and self.explorer.job is None
        self.report.object = self._report()
        if self.map.key is not None and self.explorer.view.scene is not None and self.map.key[2]:  # type: ignore[index]
            self._samples.clear()
            self.show()

    def _report(self) -> str:
        view = self.explorer.view
        height, width, bands = view.shape
        bad = np.flatnonzero(~view.good) + 1
        rows = [["pixels", f"{height:,} &times; {width:,}"], ["bands", str(bands)]]
        if view.wavelengths is not None:
            rows.append(["wavelengths", f"{view.wavelengths.min():.0f} to "
                         f"{view.wavelengths.max():.0f} nm"])  # fmt: skip
        rows.append(["flagged as bad", _spans(bad) if len(bad) else "none"])
        if view.scene is not None:
            hidden = int(view.scene.valid.size - np.count_nonzero(view.scene.valid))
            share = 100 * hidden / view.scene.valid.size
            rows.append(["without data", f"{hidden:,} pixels ({share:.1f} %)"])
        else:
            rows.append(["without data", "not examined yet: shown by the bands in view"])
        rows.append(["CRS", escape(_crs_name(view.crs))])
        body = "".join(f"<tr><td class='muted'>{k}</td><td>{v}</td></tr>" for k, v in rows)
        return f"<table>{body}</table>" + w.listing("Notes on the file", list(view.notes))


def _spans(numbers: np.ndarray) -> str:
    """Numbers as stretches: 127-136, 216."""
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{g[0]}" if len(g) == 1 else f"{g[0]}&ndash;{g[-1]}" for g in groups)


def _degrees(crs: str | None, place: tuple[float, float]) -> str:
    if crs is None:
        return ""
    try:
        lon, lat = reproject(CRS.from_wkt(crs), CRS.from_epsg(4326), [place[0]], [place[1]])
    except Exception:  # GDAL's errors have no root that rasterio shows
        return ""
    north, east = "N" if lat[0] >= 0 else "S", "E" if lon[0] >= 0 else "W"
    return f"{abs(lat[0]):.5f}&deg; {north}, {abs(lon[0]):.5f}&deg; {east}"


def _crs_name(crs: str | None) -> str:
    if crs is None:
        return "none"
    known = CRS.from_wkt(crs)
    code = known.to_epsg()
    name = crs.split('"')[1] if '"' in crs else "named in the file"
    return f"EPSG:{code}, {name}" if code else name
