"""Colours, style sheets, widgets and the keyboard of the page; errors are shown in the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import panel as pn
from panel.custom import JSComponent

from hyperpeft.records import Colour, to_hex

INK, MUTED, LINE, PAPER, GROUND = "#1d2733", "#5b6776", "#d5dbe2", "#ffffff", "#f3f5f7"
ACCENT, ALERT = "#0f5f87", "#9a2617"
SIDEBAR = 372  # pixels
# Of spectra: Okabe and Ito's colours, those that are dark enough on white.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#503200", "#7800f0")

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
SHEET = f"""
:host, .bk-input, .bk-btn {{ font-family: {FONT} !important; color: {INK}; font-size: 13px; }}
:host .bk-btn, :host(.solid) .bk-btn.bk-btn-default {{ border-radius: 5px;
  border: 1px solid {LINE}; background-color: {PAPER}; color: {INK}; padding: 3px 9px;
  font-size: 13px; font-weight: 400; box-shadow: none; }}
:host .bk-btn:hover, :host(.solid) .bk-btn.bk-btn-default:hover {{ background-color: {GROUND}; }}
:host .bk-btn:focus-visible, .bk-input:focus {{ outline: 2px solid {ACCENT}; }}
:host(.solid) .bk-btn.bk-btn-primary {{ background-color: {ACCENT}; color: white;
  border: 1px solid {ACCENT}; border-radius: 5px; font-size: 13px; box-shadow: none; }}
:host(.solid) .bk-btn.bk-btn-primary:hover {{ background-color: #0b4866; }}
:host .bk-btn-group .bk-btn {{ border-radius: 0; }}
:host(.solid) .bk-btn-group .bk-btn.bk-btn-default.bk-active {{ background-color: {ACCENT};
  color: white; border-color: {ACCENT}; box-shadow: none; }}
:host .bk-btn[disabled], :host(.solid) .bk-btn[disabled] {{ opacity: .4; }}
.bk-input {{ border: 1px solid {LINE}; border-radius: 5px; min-height: 30px; }}
label {{ color: {MUTED}; font-size: 12px; }}
"""
TABS = f"""
:host {{ font-family: {FONT}; }}
.bk-header {{ border-bottom: 1px solid {LINE}; }}
.bk-tab {{ font-size: 13px; padding: 8px 11px; color: {MUTED}; border: 0; }}
.bk-tab.bk-active {{ color: {ACCENT}; font-weight: 600; background: transparent; border: 0;
  border-bottom: 2px solid {ACCENT}; }}
"""
TEXT = f"""
:host {{ font-family: {FONT}; color: {INK}; font-size: 13px; line-height: 1.45; }}
h3 {{ font-size: 13px; margin: 4px 0 2px; font-weight: 600; }}
p {{ margin: 2px 0 4px; }}
.muted {{ color: {MUTED}; }}
table {{ border-collapse: collapse; width: 100%; font-size: 12px; }}
td, th {{ padding: 2px 6px 2px 0; text-align: left; font-weight: normal; }}
th {{ color: {MUTED}; border-bottom: 1px solid {LINE}; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; padding-right: 4px; }}
.swatch {{ display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  border: 1px solid rgba(0,0,0,.25); vertical-align: -1px; margin-right: 6px; }}
code {{ font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 11.5px;
  background: {GROUND}; border: 1px solid {LINE}; border-radius: 4px; padding: 6px 8px;
  display: block; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }}
kbd {{ font: inherit; font-size: 11px; border: 1px solid {LINE}; border-bottom-width: 2px;
  border-radius: 3px; padding: 0 4px; background: {GROUND}; }}
.big {{ font-size: 20px; font-weight: 600; }}
details summary {{ cursor: pointer; color: {MUTED}; }}
"""
ERROR = f"""
:host {{ font-family: {FONT}; font-size: 13px; color: {ALERT}; background: #fdf0ee;
  border: 1px solid #e7bdb6; border-radius: 5px; padding: 6px 10px; }}
"""


def swatch(colour: Colour) -> str:
    """A small square of a class colour."""
    return f'<span class="swatch" style="background:{to_hex(colour)}"></span>'


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells are HTML; all columns but the first are right-aligned."""

    def cells(kind: str, values: Sequence[object]) -> str:
        return "".join(
            f"<{kind}{' class=n' if i else ''}>{value}</{kind}>" for i, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', heads)}</tr>{body}</table>"


def listing(title: str, lines: Sequence[str]) -> str:
    """Lines that are folded away."""
    if not lines:
        return ""
    inner = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<details><summary>{escape(title)} ({len(lines)})</summary>{inner}</details>"


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return "&ndash;" if value is None else f"{value:,.{digits}f}"


Act = Callable[[], Any]
Guard = Callable[[Act], None]
"""Calls a function and shows its error as the one sentence of the command line."""


def button(name: str, act: Act, guard: Guard, **options: Any) -> Any:
    """A button; `act` takes no arguments."""
    kind = options.pop("kind", "default")
    made = pn.widgets.Button(
        name=name, button_type=kind, stylesheets=[SHEET], margin=(3, 4), height=30, **options
    )
    made.on_click(lambda _: guard(act))
    return made


def choice(name: str, value: Any, act: Callable[[Any], Any], guard: Guard, **options: Any) -> Any:
    """A button that hands a value to a function."""
    return button(name, lambda: act(value), guard, **options)


def set_choices(
    into: Any, entries: Sequence[tuple[str, Any]], act: Callable[[Any], Any], guard: Guard
) -> None:
    """Fill a column with buttons of (name, value); those that are there stay, for the pointer."""
    if into.tags != [*entries]:
        into.objects = [
            choice(name, value, act, guard, sizing_mode="stretch_width") for name, value in entries
        ]
        into.tags = [*entries]


def on_change(widget: Any, act: Callable[[Any], Any], guard: Guard) -> None:
    """Call a function with the value of a widget whenever it changes."""
    widget.param.watch(lambda event: guard(lambda: act(event.new)), "value")


def select(name: str, options: Any, value: Any, **more: Any) -> Any:
    """A list of which one is chosen."""
    return pn.widgets.Select(
        name=name, options=options, value=value, stylesheets=[SHEET], margin=(3, 4), **more
    )


def group(options: Mapping[str, Any], value: Any, **more: Any) -> Any:
    """Buttons of which one is pressed."""
    return pn.widgets.RadioButtonGroup(
        options=dict(options), value=value, stylesheets=[SHEET], margin=(3, 4), **more
    )


def check(name: str, value: bool, **more: Any) -> Any:
    """A box to tick."""
    return pn.widgets.Checkbox(name=name, value=value, stylesheets=[SHEET], margin=(5, 6), **more)


def whole(name: str, value: int | None, start: int, end: int, **more: Any) -> Any:
    """A whole number."""
    return pn.widgets.IntInput(
        name=name, value=value, start=start, end=end, stylesheets=[SHEET], margin=(3, 4),
        **more,
    )  # fmt: skip


def slider(name: str, value: float, start: float, end: float, step: float, **more: Any) -> Any:
    """A slider."""
    return pn.widgets.FloatSlider(
        name=name, value=value, start=start, end=end, step=step, stylesheets=[SHEET],
        margin=(3, 8), **more,
    )  # fmt: skip


def text_input(name: str, **more: Any) -> Any:
    """A line of text."""
    return pn.widgets.TextInput(name=name, stylesheets=[SHEET], margin=(3, 4), **more)


def html(text: str = "", **more: Any) -> Any:
    """A piece of HTML; what comes from files has been escaped."""
    more.setdefault("margin", (3, 6))
    more.setdefault("sizing_mode", "stretch_width")
    return pn.pane.HTML(text, stylesheets=[TEXT], **more)


def row(*parts: Any, **more: Any) -> Any:
    """Parts beside each other."""
    more.setdefault("margin", 0)
    return pn.Row(*parts, **more)


def column(*parts: Any, **more: Any) -> Any:
    """Parts below each other."""
    more.setdefault("margin", 0)
    more.setdefault("sizing_mode", "stretch_width")
    return pn.Column(*parts, **more)


KNOWN = (
    *"123456789mpgbezyh+-0",
    "Enter",
    "Escape",
    "ArrowLeft",
    "ArrowRight",
    "ArrowUp",
    "ArrowDown",
)


class Keys(JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Listens to the keyboard; what it shows is nothing."""

    _esm = f"""
const known = new Set({list(KNOWN)!r});
export function render({{ model }}) {{
  const listen = (event) => {{
    const inner = event.composedPath()[0];
    const typing = inner && (inner.isContentEditable || ['TEXTAREA', 'SELECT'].includes(
      inner.tagName) || (inner.tagName === 'INPUT' && !['checkbox', 'radio', 'range', 'button'
      ].includes(inner.type)));
    const plain = !event.altKey && !event.ctrlKey && !event.metaKey;
    if (typing || !plain || !known.has(event.key)) return;
    if (event.key === 'Enter' && inner && inner.tagName === 'BUTTON') return;
    if (event.key.startsWith('Arrow')) {{
      if (inner && inner.tagName !== 'BODY' && inner.tagName !== 'CANVAS' &&
          inner.tagName !== 'DIV') return;
      event.preventDefault();
    }}
    model.send_msg({{ key: event.key }});
  }};
  if (window.hyperpeftKeys) document.removeEventListener('keydown', window.hyperpeftKeys);
  window.hyperpeftKeys = listen;
  document.addEventListener('keydown', listen);
  return document.createElement('span');
}}
"""

    def __init__(self, act: Callable[[str], None], **options: Any) -> None:
        super().__init__(width=0, height=0, margin=0, **options)
        self._act = act

    def _handle_msg(self, data: Any) -> None:
        key = data.get("key") if isinstance(data, dict) else None
        if isinstance(key, str) and key in KNOWN:
            self._act(key)
