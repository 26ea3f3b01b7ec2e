"""The command line: thin commands over the other packages, and the only one that prints.

A command's module is imported when the command is used, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from hyperpeft._version import __version__
from hyperpeft.errors import ConfigError, HyperpeftError, InputError, Interrupted
from hyperpeft.system.resources import stay_offline

app = typer.Typer(
    name="hyperpeft",
    help="Class maps of hyperspectral scenes from a few labelled pixels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
GROUPS = {
    "scenes": typer.Typer(no_args_is_help=True, help="Benchmark scenes: list, info, fetch."),
    "backbones": typer.Typer(no_args_is_help=True, help="Backbones: list, convert checkpoints."),
    "hub": typer.Typer(no_args_is_help=True, help="Runs on the Hugging Face Hub: push, pull."),
    "adapters": typer.Typer(no_args_is_help=True, help="Trained adapters: list, export, merge."),
}
# A command, MODULE:FUNCTION in this package, and the first line of the function's docstring.
COMMANDS = {
    "demo": ("runs:demo", "Run the whole pipeline on a generated scene, offline."),
    "train": ("runs:train", "Adapt a backbone to a scene, test it, map the scene."),
    "evaluate": ("runs:evaluate", "Test a trained run again, or on another scene."),
    "map": (
        "runs:map_",
        "Map a scene of any size with a trained run: a Cloud-Optimized GeoTIFF.",
    ),
    "export": (
        "adapters:export",
        "Write a run as one ONNX file that maps without torch, or in another format.",
    ),
    "pretrain": (
        "backbones:pretrain",
        "Pretrain a backbone; the same command resumes an interrupted run.",
    ),
    "bench": (
        "bench:bench",
        "Run a grid of scenes, methods, budgets, splits and seeds, or resume it.",
    ),
    "report": (
        "bench:report",
        "Turn records into tables, figures and one HTML page; nothing is computed again.",
    ),
    "sample": (
        "assess:sample",
        "Draw a stratified random sample of a map, to be checked by a person.",
    ),
    "assess": (
        "assess:assess",
        "Accuracy and area of a map with 95 % intervals, from a checked sample.",
    ),
    "explore": (
        "scenes:explore",
        "Look at a scene, label it, train, map and check, in the browser.",
    ),
    "suggest": ("assess:suggest", "Choose the pixels of a scene to label next."),
    "scenes list": ("scenes:scenes_list", "List the scenes that can be opened by name."),
    "scenes info": (
        "scenes:scenes_info",
        "Show a card's classes and files, or what a file says of itself.",
    ),
    "scenes fetch": ("scenes:scenes_fetch", "Download a scene into the cache and verify it."),
    "backbones list": ("backbones:backbones_list", "List the backbones that can be named."),
    "backbones convert": (
        "backbones:backbones_convert",
        "Check a checkpoint key by key and write it as safetensors.",
    ),
    "hub push": ("adapters:hub_push", "Share a trained run, with a model card."),
    "hub pull": ("adapters:hub_pull", "Fetch a shared run into a folder that maps at once."),
    "adapters list": (
        "adapters:adapters_list",
        "List trained runs: method, parameters, size, backbone, scene and accuracy.",
    ),
    "adapters export": (
        "adapters:adapters_export",
        "Write a run's adapter as a folder that stock PEFT loads, with head and model card.",
    ),
    "adapters merge": (
        "adapters:adapters_merge",
        "Write the encoder of a run with its adapter merged: plain weights for --backbone.",
    ),
}


def add_command(app: typer.Typer, name: str, target: str, summary: str) -> None:
    """Add a command to an application.

    Parameters
    ----------
    app : Typer
    name : str
    target : str
        MODULE:FUNCTION below `hyperpeft.cli`, imported when the command or its help is used.
    summary : str
        For the list of commands: the first line of the function's docstring.
    """

    class Lazy(TyperCommand):
        def make_context(self, info_name: Any, args: list[str], *rest: Any, **extra: Any) -> Any:
            command = _load(name, target)
            _refuse_repeated(command, args)
            return command.make_context(info_name, args, *rest, **extra)

    def not_loaded() -> None:
        """Stand in for the function in the list of commands."""

    app.command(name, cls=Lazy, help=summary)(not_loaded)


def _load(name: str, target: str) -> Any:
    module, function = target.split(":")
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command(name)(getattr(importlib.import_module(f"hyperpeft.cli.{module}"), function))
    return typer.main.get_command(app)


def _refuse_repeated(command: Any, args: list[str]) -> None:
    """Refuse an option of one value that is given twice, of which the first would be dropped."""
    parser = command.make_parser(command.context_class(command))
    try:
        _, _, order = parser.parse_args(list(args))
    except Exception:  # wrong usage, which the command itself reports
        return
    for parameter in order:
        single = getattr(parameter, "is_flag", True) is False and not parameter.multiple
        if single and not parameter.count and order.count(parameter) > 1:
            hint = "label files have to be joined first" if parameter.name == "labels" else None
            raise ConfigError(
                parameter.opts[0], expected="one value", got=order.count(parameter), hint=hint
            )


for group, commands in GROUPS.items():
    app.add_typer(commands, name=group)
for command, (target, summary) in COMMANDS.items():
    *parent, name = command.split()
    add_command(GROUPS[parent[0]] if parent else app, name, target, summary)

# The system refuses: a full disk, a read-only one, a folder without permission, an invalid path.
NO_DEFECT = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.ENAMETOOLONG, errno.EMFILE, errno.EIO,
)  # fmt: skip
EXTRAS = {  # where a library comes from that a map of an exported run does not need
    "torch": "train", "accelerate": "train", "matplotlib": "train", "sklearn": "train",
    "pyogrio": "vectors", "huggingface_hub": "hub",
}  # fmt: skip


def main() -> None:
    """Entry point: turns exceptions into messages and exit statuses."""
    # GDAL keeps blocks of the files it reads, by default in 5 % of the memory: these are MB.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    stay_offline()
    if isinstance(sys.stdout, io.TextIOWrapper):  # of which not every encoding has every name
        sys.stdout.reconfigure(errors="replace")
    try:
        _refuse_empty(sys.argv[1:])
        app(standalone_mode=False)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (Interrupted, typer.Abort, KeyboardInterrupt) as stop:
        _fail(str(stop) or "interrupted", 130)
    except InputError as error:
        _fail(str(error), 2)
    except HyperpeftError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in NO_DEFECT:
            raise
        _fail(f"{error.filename or 'the output'}: {error.strerror}", 2)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        _fail(f"this needs {library}, which comes with hyperpeft[{EXTRAS[library]}]", 2)
    except Exception as error:
        if _no_memory(error):
            _fail(
                f"there is not enough memory ({' '.join(str(error).split())[:160]}); use a smaller "
                "batch size, window, tile or backbone",
                2,
            )
        usage = getattr(error, "format_message", None)  # click's, for wrong usage
        if usage is None:
            raise
        if not usage().strip():  # no arguments at all: the help has been shown
            sys.exit(2)
        _fail(usage(), 2)


def _refuse_empty(words: list[str]) -> None:
    """Refuse an empty argument, which as a path would be the current folder."""
    for before, word in zip(["", *words], words, strict=False):
        if word and not re.fullmatch(r"--[\w-]+=", word):
            continue
        place = f"after {before!r}" if before else "of the command"
        raise ConfigError(
            word.rstrip("=") + " is empty" if word else f"the argument {place} is empty",
            expected="a path or another value",
            hint="write . for the current folder; a variable of the shell may be unset",
        )


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out in spite of the estimates: the processor's, or a GPU's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _fail(message: str, status: int) -> NoReturn:
    # One line, whatever a file is called; control characters could hide what is printed.
    text = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    if sys.stderr is not None:  # closed, and then `print` would write to stdout
        print(f"error: {text}", file=sys.stderr)
    sys.exit(status)


def _version(show: bool) -> None:
    if show:
        print(f"hyperpeft {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
