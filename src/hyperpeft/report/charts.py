"""The figures: accuracy against parameters, average ranks, label efficiency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperpeft.report.collect import Entry, Results, Setting
from hyperpeft.report.svg import STYLE, Plot, powers, spaced, ticks
from hyperpeft.report.table import oa, over_seeds, parameters, pattern
from hyperpeft.report.tables import ranks_of

# Readable on white and on near-black; neighbours differ in hue and in mark.
COLOURS = (
    "#d1495b", "#2f7fc1", "#e08e1b", "#2a9d6f", "#8a63d2", "#8c7355",
    "#c2569b", "#1f9fa8", "#7c9a2d", "#5f7183", "#b5651d", "#5a78e0",
)  # fmt: skip
MARKS = {
    "circle": "●", "square": "■", "up": "▲", "diamond": "◆", "down": "▼", "plus": "✚",
    "cross": "✖", "star": "★", "left": "◀", "right": "▶", "hexagon": "⬢",
}  # fmt: skip
NAMES = 150.0  # pixels for names beside the axes
LINE = 12.5  # pixels between two names


class Style(NamedTuple):
    """How a method is drawn everywhere: colour, mark, and the mark as a character."""

    colour: str
    mark: str
    sign: str


class Chart(NamedTuple):
    """A figure.

    Attributes: `name` of its file; `title`; `words`, what it shows, for those who do not see it;
    `records` it was made of; `svg`.
    """

    name: str
    title: str
    words: str
    records: str
    svg: str

    @property
    def in_file(self) -> str:
        """As a file of its own: on white, with the colours that the page would give it."""
        style = f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        head, mark, rest = self.svg.partition(">")
        return f"{head}{mark}<title>{self.title}</title>{style}{rest}\n"


def style_of(methods: Sequence[str]) -> dict[str, Style]:
    """Colour and mark of each method; 132 of them differ."""
    marks = list(MARKS)
    return {
        method: Style(
            COLOURS[i % len(COLOURS)], marks[i % len(marks)], MARKS[marks[i % len(marks)]]
        )
        for i, method in enumerate(methods)
    }


def all_charts(results: Results) -> dict[str, list[Chart]]:
    """Every figure, by section of the page."""
    groups: dict[str, list[Chart | None]] = {"parameters": [], "ranks": [], "labels": []}
    for setting in results.settings:
        scenes = list(dict.fromkeys(e.scene for e in results.select(setting=setting)))
        if len(scenes) > 1:
            groups["parameters"].append(parameter_chart(results, setting, scenes))
        groups["parameters"] += [parameter_chart(results, setting, [scene]) for scene in scenes]
        groups["ranks"].append(rank_chart(results, setting))
    for scene in results.scenes:
        for split in dict.fromkeys(e.split for e in results.select(scene=scene)):
            groups["labels"].append(label_chart(results, scene, split))
    return {name: [chart for chart in group if chart] for name, group in groups.items()}


def parameter_chart(results: Results, setting: Setting, scenes: Sequence[str]) -> Chart | None:
    """OA against trainable parameters, on one scene or as the mean over several."""
    entries = [e for e in results.select(setting=setting) if e.scene in scenes]
    points: dict[str, tuple[int | None, float, float]] = {}
    for method in results.methods:
        own = [e for e in entries if e.method == method]
        means = [over_seeds([e for e in own if e.scene == s], oa) for s in scenes]
        known = [mean for mean in means if mean]
        if own and len(known) == len(scenes):
            spread = known[0].std or 0.0 if len(scenes) == 1 else 0.0
            points[method] = parameters(own), sum(m.mean for m in known) / len(known), spread
    if len(points) < 2:
        return None
    counts = [count for count, _, _ in points.values() if count]
    low = min(height - spread for _, height, spread in points.values())
    high = max(height + spread for _, height, spread in points.values())
    room = max(0.06 * (high - low), 0.3)
    span = (min(counts) / 2, max(counts) * 2) if counts else (1.0, 10.0)
    tall = max(250.0, 60 + LINE * len(points))
    plot = Plot(tall, span, (low - room, high + room), log=True, right=NAMES)
    plot.axis_y(ticks(low - room, high + room), "OA, %")
    plot.axis_x(*(powers(*span) if counts else ([], [])), "Trainable parameters")
    styles = style_of(results.methods)
    for method, (count, height, spread) in points.items():
        style, at = styles[method], plot.y(height)
        if count:
            x = plot.x(count)
            if spread:
                ends = [(x, plot.y(height - spread)), (x, plot.y(height + spread))]
                plot.path(ends, style.colour, 1.2)
            plot.mark(x, at, style.mark, style.colour)
        else:
            plot.path([(plot.left, at), (plot.right, at)], style.colour, 1.2, "5 3")
    _names_beside(plot, {m: (p[0], p[1]) for m, p in points.items()}, styles)
    where = scenes[0] if len(scenes) == 1 else "Mean over scenes"
    said = ", ".join(f"{m} {height:.1f}" for m, (_, height, _) in points.items())
    return Chart(
        f"parameters-{setting.slug}-{scenes[0] if len(scenes) == 1 else 'mean'}",
        f"{where}: {setting.words}",
        f"Overall accuracy against trainable parameters. OA in percent: {said}.",
        pattern(entries),
        plot.svg(),
    )


def _names_beside(
    plot: Plot, points: Mapping[str, tuple[int | None, float]], styles: Mapping[str, Style]
) -> None:
    """Names in a column right of the axes, none on another, each with a line to its point."""
    order = sorted(points, key=lambda method: plot.y(points[method][1]))
    wanted = [plot.y(points[method][1]) for method in order]
    for method, place in zip(order, spaced(wanted, LINE, 8, plot.height - 8), strict=True):
        count, height = points[method]
        start = plot.x(count) + 7 if count else plot.right
        leader = [(start, plot.y(height)), (plot.right + 6, place), (plot.right + 10, place)]
        plot.path(leader, styles[method].colour, 0.6)
        plot.text(plot.right + 13, place + 4, method, "start")


def rank_chart(results: Results, setting: Setting) -> Chart | None:
    """Average ranks over scenes, with the critical difference as a band."""
    ranks, _ = ranks_of(results, setting)
    if len(ranks.ranks) < 3 or ranks.scenes < 2:
        return None
    order = sorted(ranks.ranks, key=lambda m: ranks.ranks[m])
    k = len(order)
    plot = Plot(54 + 19.0 * k, (0.8, k + 0.2), (-0.6, k - 0.4), left=128, flip=True)
    if ranks.critical is not None:
        best = ranks.ranks[order[0]]
        plot.band(best, min(best + ranks.critical, k + 0.2))
    numbers = ticks(1, k, 8)
    plot.axis_x(numbers, [f"{n:g}" for n in numbers], "Average rank of OA over scenes, 1 is best")
    styles = style_of(results.methods)
    for i, method in enumerate(order):
        at, x = plot.y(i), plot.x(ranks.ranks[method])
        plot.path([(plot.left, at), (x, at)], styles[method].colour, 1.1)
        plot.mark(x, at, styles[method].mark, styles[method].colour)
        plot.text(plot.left - 7, at + 4, method, "end")
    words = "Average ranks: " + ", ".join(f"{m} {ranks.ranks[m]:.2f}" for m in order) + "."
    if ranks.critical is not None:
        words += " Methods in the shaded band cannot be told from the first one (Nemenyi, 5 %)."
    return Chart(
        f"ranks-{setting.slug}",
        f"{setting.words}, {ranks.scenes} scenes",
        words,
        pattern(results.select(setting=setting)),
        plot.svg(),
    )


def label_chart(results: Results, scene: str, split: str) -> Chart | None:
    """OA against the number of training pixels; None with one budget only."""
    entries = results.select(scene=scene, split=split)
    budgets = list(dict.fromkeys(e.budget for e in entries))
    if len(budgets) < 2:
        return None
    lines = {m: _curve([e for e in entries if e.method == m], budgets) for m in results.methods}
    lines = {method: line for method, line in lines.items() if line}
    low = min(y - s for line in lines.values() for _, y, s in line)
    high = max(y + s for line in lines.values() for _, y, s in line)
    sizes = sorted({round(x) for line in lines.values() for x, _, _ in line})
    room = max(0.05 * (high - low), 0.3)
    span = (sizes[0] / 1.15, sizes[-1] * 1.15)
    plot = Plot(240, span, (low - room, high + room), log=True)
    plot.axis_y(ticks(low - room, high + room), "OA, %")
    shown = [size for i, size in enumerate(sizes) if i == 0 or size > 1.25 * sizes[i - 1]]
    plot.axis_x(shown, [str(size) for size in shown], "Training pixels")
    styles = style_of(results.methods)
    for method, line in lines.items():
        top = [(plot.x(x), plot.y(y + s)) for x, y, s in line]
        plot.area(
            top + [(plot.x(x), plot.y(y - s)) for x, y, s in line[::-1]], styles[method].colour
        )
    for method, line in lines.items():
        pixels = [(plot.x(x), plot.y(y)) for x, y, _ in line]
        plot.path(pixels, styles[method].colour)
        for x, y in pixels:
            plot.mark(x, y, styles[method].mark, styles[method].colour, 3.6)
    said = "; ".join(
        f"{method} {', '.join(f'{y:.1f} at {x:.0f}' for x, y, _ in line)}"
        for method, line in lines.items()
    )
    words = f"Overall accuracy in percent against training pixels: {said}."
    return Chart(
        f"labels-{scene}-{split}", f"{scene}: {split} split", words, pattern(entries), plot.svg()
    )


def _curve(entries: Sequence[Entry], budgets: Sequence[str]) -> list[tuple[float, float, float]]:
    """Training pixels, mean OA and its deviation, by budget."""
    line = []
    for budget in budgets:
        own = [e for e in entries if e.budget == budget]
        mean = over_seeds(own, oa)
        if mean is not None:
            sizes = [float(e.record["split"]["train"]) for e in own]
            line.append((sum(sizes) / len(sizes), mean.mean, mean.std or 0.0))
    return line
