"""Write the parts of pages of the documentation that are made from the sources.

    python -m tools.write_pages

docs/explanation/architecture.md gets the figure of the packages, from their imports: an arrow from
a package to another says that the second uses the first; those that follow from others (a to b, b
to c, therefore a to c) are left out. docs/reference/options.md gets the tables of options, from the
declarations in RunConfig.
"""

from __future__ import annotations

import ast
import re
from itertools import groupby
from pathlib import Path

from hyperpeft.cli.run_options import default_text, grouped_fields, spelled

ROOT = Path(__file__).parents[1] / "src" / "hyperpeft"
DOCS = Path(__file__).parents[1] / "docs"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
OPTIONS = DOCS / "reference" / "options.md"
UNDRAWN = {"_version"}  # nearly everything would use it


def module_name(path: Path, root: Path = ROOT) -> str:
    """scenes/catalog/cards.py -> hyperpeft.scenes.catalog.cards."""
    parts = ["hyperpeft", *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """Every module and its file."""
    return {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def layer_of(module: str) -> str:
    """hyperpeft.scenes.catalog.cards -> scenes; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports_of(source: str, module: str, known: set[str], is_package: bool) -> set[str]:
    """Modules of hyperpeft imported anywhere in a file, those for type checkers included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                found.add(str(first.value))
    return {name for name in found if name == "hyperpeft" or name.startswith("hyperpeft.")}


def all_imports() -> dict[str, set[str]]:
    """Of every module the modules of hyperpeft that it imports."""
    known = modules()
    return {
        name: imports_of(path.read_text(), name, set(known), path.name == "__init__.py")
        for name, path in known.items()
    }


def package_imports() -> dict[str, set[str]]:
    """Of every package the other packages that it imports."""
    found: dict[str, set[str]] = {}
    for module, targets in all_imports().items():
        own = layer_of(module)
        used = {layer_of(target) for target in targets}
        found[own] = found.get(own, set()) | used - {"", own} - UNDRAWN
    return {name: used for name, used in found.items() if name not in {"", *UNDRAWN}}


def reduced(uses: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others; `uses` has no circle."""

    def reached(name: str) -> set[str]:
        return set().union(*({used} | reached(used) for used in uses.get(name, ())))

    return {
        name: {one for one in used if not any(one in reached(o) for o in used - {one})}
        for name, used in uses.items()
    }


def figure() -> str:
    """The figure as Mermaid text, packages in the order of the page's table."""
    table = ARCHITECTURE.read_text(encoding="utf-8")
    order = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    uses = reduced(package_imports())
    lines = [
        f"    {used} --> {name}" for name in order for used in order if used in uses.get(name, ())
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


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


def between(text: str, start: str, end: str, part: str) -> str:
    """The text with another part between two marks."""
    before, rest = text.split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n{part}\n{end}{after}"


def pages() -> dict[Path, str]:
    """The pages as they should be."""
    architecture, options = (p.read_text(encoding="utf-8") for p in (ARCHITECTURE, OPTIONS))
    return {
        ARCHITECTURE: between(architecture, "<!-- layers -->", "<!-- end -->", figure()),
        OPTIONS: between(options, "<!-- options -->", "<!-- end of options -->", f"\n{tables()}"),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
