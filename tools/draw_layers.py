"""Which package imports which, read from the sources, and the figure of it in the documentation.

    python -m tools.draw_layers          writes the figure into docs/explanation/architecture.md

An arrow from a package to another says that the second uses the first; those that follow from
others (a to b, b to c, therefore a to c) are left out.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "hyperpeft"
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"
START, END = "<!-- layers -->", "<!-- end -->"
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
    order = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    uses = reduced(package_imports())
    lines = [
        f"    {used} --> {name}" for name in order for used in order if used in uses.get(name, ())
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def page_with_figure() -> str:
    """The page as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{figure()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_figure(), encoding="utf-8")
