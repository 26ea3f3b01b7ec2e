"""Write the tables of docs/reference/options.md from the declarations in RunConfig.

python -m tools.write_options
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from hyperpeft.cli.run_options import default_text, grouped_fields, spelled

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
START, END = "<!-- options -->\n", "<!-- end of options -->\n"


def tables() -> str:
    """A table for each group of options, in Markdown."""
    parts = []
    for title, fields in groupby(grouped_fields(), key=lambda row: row[0]):
        rows = [
            f"## {title}\n",
            "| option | command line | default | meaning |",
            "|---|---|---|---|",
        ]
        for _, name, field in fields:
            words = name.upper() if field.is_required() else f"`{spelled(name)}`"
            text = (field.description or "").replace("|", "\\|")
            rows.append(f"| `{name}` | {words} | {default_text(field)} | {text} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def page(text: str) -> str:
    """The page with its tables made again."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{tables()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
