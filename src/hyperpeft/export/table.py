"""The formats that a trained run is exported to: one row each. A new one is a function and a row.

def write_toy(run: Path, to: Path) -> list[Path]: ...   # the files written

register_exporter(Exporter("toy", ".toy", "a toy format", "mine.toy:write_toy"))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hyperpeft.errors import ConfigError
from hyperpeft.system.lazy_names import named_object

FOLDER = ""  # the suffix of an exporter that writes a folder


@dataclass(frozen=True)
class Exporter:
    """How a run is written in one format.

    Attributes
    ----------
    name : str
    suffix : str
        Of the file to be written, which selects the exporter: ".onnx"; empty for a folder.
    description : str
        For help and messages.
    home : str
        "module:function", imported on first use: from the run folder and the path to be written
        (`Path` both) to the list of files written.
    """

    name: str
    suffix: str
    description: str
    home: str

    def write(self, run: Path, to: Path, **options: str) -> list[Path]:
        """Write a run to a file or folder."""
        export: Callable[..., list[Path]] = named_object(self.home)
        return export(run, to, **options)


_ONNX = "hyperpeft.export.onnx_file"
_PEFT = "hyperpeft.export.peft_folders"

EXPORTERS = {
    row.name: row
    for row in (
        Exporter("onnx", ".onnx", "one file that maps without torch", f"{_ONNX}:export"),
        Exporter("peft", FOLDER, "a folder that stock PEFT loads", f"{_PEFT}:export"),
        Exporter("weights", ".safetensors", "the merged encoder", f"{_PEFT}:export_merged"),
    )
}


def register_exporter(exporter: Exporter) -> None:
    """Add a format; one of the same name is replaced."""
    EXPORTERS[exporter.name] = exporter


def export_run(run: Path, to: Path, *, backbone: str | None = None) -> list[Path]:
    """Write a run in the format that the suffix of `to` selects.

    Parameters
    ----------
    run : Path
        Run folder.
    to : Path
        File or folder to write.
    backbone : str, optional
        Where the base model is now, if it was a file that has moved.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ConfigError
        No format has this suffix.
    """
    for exporter in reversed(EXPORTERS.values()):
        if exporter.suffix == to.suffix.lower():
            return exporter.write(run, to, **({} if backbone is None else {"backbone": backbone}))
    known = (f"{row.suffix or 'a folder'} ({row.description})" for row in EXPORTERS.values())
    raise ConfigError(f"--to {to}", expected=f"one of {', '.join(known)}", got=to.name)
