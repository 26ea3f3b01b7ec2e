"""Trained runs: list, write in other formats, share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Backbone, Quiet, Run
from hyperpeft.cli.console import Console, print_table
from hyperpeft.export import export_run, hub, peft_folders
from hyperpeft.progress import told_to
from hyperpeft.system.text import megabytes

Repo = Annotated[str, typer.Argument(help="NAME/REPOSITORY on the hub.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]


def adapters_list(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List trained runs: method, parameters, size, backbone, scene and accuracy.

    Example: `hyperpeft adapters list runs/sa runs/pu`
    """
    rows = peft_folders.list_runs(runs)
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))
    elif not quiet:
        print_table(
            ["run", "method", "parameters", "MB", "backbone", "scene", "OA %"],
            [
                [
                    row.run, row.method, "" if row.parameters is None else f"{row.parameters:,}",
                    "" if row.megabytes is None else f"{row.megabytes:.2f}", row.backbone or "",
                    row.scene, "" if row.oa is None else f"{row.oa:.2f}",
                ]
                for row in rows
            ],
        )  # fmt: skip


def adapters_export(
    run: Run,
    to: Annotated[Path, typer.Option("--to", help="New folder to write.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's adapter as a folder that stock PEFT loads, with head and model card.

    Example: `hyperpeft adapters export runs/sa --to sa-adapter`
    """
    files = [str(path) for path in peft_folders.export(run, to)]
    if as_json:
        print(json.dumps({"folder": str(to), "files": files}))
    elif not quiet:
        print("\n".join(files))


def adapters_merge(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    backbone: Backbone = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the encoder of a run with its adapter merged: plain weights for --backbone.

    Example: `hyperpeft adapters merge runs/sa --out sa.safetensors`
    """
    result = peft_folders.merge(run, out, backbone=backbone)
    if as_json:
        print(json.dumps(result))
    elif not quiet:
        size = megabytes(result["bytes"])
        print(f"{out}: {result['tensors']} tensors, {result['num_heads']} heads, {size:.1f} MB")


def export(
    run: Run,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help="model.onnx: one file that maps without torch. A name in .safetensors: the merged "
            "encoder. A new folder: what stock PEFT loads.",
        ),
    ],
    backbone: Backbone = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a run as one ONNX file that maps without torch, or in another format.

    An ONNX file is checked against torch before it gets its name. As `model.onnx` in the run folder
    it is what `hyperpeft map RUN` uses; anywhere else it takes the place of the run: `hyperpeft map
    model.onnx SCENE`.

    Example: `hyperpeft export runs/sa --to runs/sa/model.onnx`
    """
    notes: list[str] = []
    with Console(quiet=quiet or as_json) as progress:
        progress.stage("Exporting")
        with told_to(notes.append):
            files = [str(path) for path in export_run(run, to, backbone=backbone)]
    if as_json:
        print(json.dumps({"files": files, "notes": notes}))
    elif not quiet:
        print("\n".join([*files, *notes]))


def hub_push(
    run: Run,
    repo: Repo,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    revision: Revision = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Share a trained run, with a model card.

    Example: `hyperpeft hub push runs/sa me/salinas-krona`
    """
    address = hub.push(run, repo, private=private, revision=revision)
    if as_json:
        print(json.dumps({"repository": repo, "address": address}))
    elif not quiet:
        print(address)


def hub_pull(
    repo: Repo,
    to: Annotated[Path, typer.Option(help="Run folder to make.")],
    revision: Revision = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a shared run into a folder that maps at once.

    Example: `hyperpeft hub pull me/salinas-krona --to runs/pulled`
    """
    record = hub.pull(repo, to, revision=revision)
    if as_json:
        print(json.dumps({"repository": repo, "folder": str(to),
                          "method": record.adapter["method"]}))  # fmt: skip
    elif not quiet:
        print(f"{record!r} is in {to}")
