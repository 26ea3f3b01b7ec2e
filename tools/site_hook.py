"""What MkDocs makes when it builds the site: the command-line reference, pages of notebooks.

`<!-- commands -->` on a page becomes the reference of all commands, made from their own
declarations; NAME.ipynb becomes the page NAME.md with its committed outputs. Mermaid flowcharts,
which need a script from elsewhere, become tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from hyperpeft.cli import app
from hyperpeft.runs.config import GROUPS

COMMANDS = "<!-- commands -->"


def on_files(files: Files, config: Any) -> Files:
    """A page for each notebook, beside the file itself."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            cells = json.loads(Path(file.abs_src_path).read_text(encoding="utf-8"))["cells"]
            name = file.src_uri.removesuffix(".ipynb")
            head = f"*[The notebook as a file]({Path(name).name}.ipynb)*\n"
            text = "\n".join(part for cell in cells for part in _parts(cell))
            title, _, rest = text.partition("\n")
            content = f"{title}\n\n{head}\n{rest}"
            files.append(File.generated(config, f"{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The commands in their place, and links to notebooks as links to their pages."""
    if page.file.generated_by is None:
        markdown = re.sub(r"\.ipynb(?=[)#])", ".md", markdown)
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n".join(command_reference()))
    return re.sub(r"```mermaid\n(.*?)```", _arrows, markdown, flags=re.DOTALL)


def _arrows(flowchart: re.Match[str]) -> str:
    """A flowchart as a table: what each arrow's start leads to."""
    ends: dict[str, list[str]] = {}
    for start, end in re.findall(r"(\w+) --> (\w+)", flowchart[1]):
        ends.setdefault(start, []).append(f"`{end}`")
    rows = [f"| `{start}` | {', '.join(names)} |" for start, names in ends.items()]
    return "\n".join(["| package | is used by |", "|---|---|", *rows])


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the program, `hub push` and the like included, with its declaration."""
    for name, command in typer.main.get_command(app).commands.items():
        parts = getattr(command, "commands", None)
        for words, one in (
            {f"{name} {k}": v for k, v in parts.items()}.items() if parts else [(name, command)]
        ):
            # a command is loaded when its context is made
            yield words, one.make_context(words, [], resilient_parsing=True).command


def command_reference() -> Iterator[str]:
    """A section for each command: what it does, an example, its arguments and options."""
    for words, command in commands():
        summary, *rest = (command.help or "").strip().split("\n\n")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        run = any(p.name == "patch_size" for p in options)
        if run:  # the options of a run have a page of their own
            options = [p for p in options if p.rich_help_panel not in GROUPS]
        shown = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
        yield f"## `hyperpeft {words}`\n\n{summary}\n"
        for part in rest:
            example = re.fullmatch(r"Example: `(.+)`", part.strip(), re.DOTALL)
            yield f"```bash\n{example[1]}\n```\n" if example else f"{part}\n"
        yield f"Usage: `hyperpeft {' '.join([words, *shown, '[OPTIONS]'])}`\n"
        yield "| argument or option | meaning |\n|---|---|"
        for p in arguments:
            yield f"| `{p.name.upper()}` | {_help(p)} |"
        for p in options:
            yield f"| {_names(p)} | {_help(p)} |"
        yield ""
        if run:
            yield "And every [option of a run](options.md).\n"


def _names(option: Any) -> str:
    names = [f"`{name}`" for name in (*option.opts, *option.secondary_opts)]
    return ", ".join(names)


def _help(parameter: Any) -> str:
    text = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    default = parameter.default
    if getattr(parameter, "required", False):
        return f"{text} Required.".strip()
    if default in (None, False, (), []) or callable(default) or "[default" in text:
        return text
    return f"{text} [default: {default}]".strip()


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    """A cell of a notebook in Markdown."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source + "\n"
        return
    yield f"```python\n{source}\n```\n"
    for output in cell.get("outputs", []):
        data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
        if "text" in output:
            yield f"```text\n{''.join(output['text']).rstrip()}\n```\n"
        elif "image/png" in data:
            image = data["image/png"].replace("\n", "")
            yield f'<img alt="output" src="data:image/png;base64,{image}">\n'
        elif "text/html" in data:  # without empty lines, which end an HTML block
            whole = re.sub(r"\s*\n\s*", " ", data["text/html"])
            yield f'<div class="output">{whole}</div>\n'
        elif "text/plain" in data:
            yield f"```text\n{data['text/plain']}\n```\n"
