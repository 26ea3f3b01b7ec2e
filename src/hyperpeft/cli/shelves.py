"""What is kept: scenes, backbones, adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.options import AsJson, Quiet, console
from hyperpeft.errors import ConfigError
from hyperpeft.outputs import refuse_inputs


def scenes_list(as_json: AsJson = False) -> None:
    """List the scenes that can be opened by name.

    Example: `hyperpeft scenes list`
    """
    from hyperpeft.scenes import list_scenes

    rows = list_scenes()
    if as_json:
        print(json.dumps([{**vars(row), "path": row.path and str(row.path)} for row in rows]))
        return
    from hyperpeft.console import print_table

    print_table(
        ["name", "sensor", "rows x columns x bands", "classes", "labelled", "here"],
        [
            [
                row.name, row.sensor, " x ".join(map(str, row.shape)), str(row.classes),
                f"{row.labelled:,}", "yes" if row.path else "no",
            ]
            for row in rows
        ],
    )  # fmt: skip


def scenes_info(
    name: Annotated[str, typer.Argument(help="A card's name.")], as_json: AsJson = False
) -> None:
    """Show a scene's sensor, classes, counts and files.

    Example: `hyperpeft scenes info salinas-a`
    """
    from dataclasses import asdict

    from hyperpeft.scenes import find, get_card

    card = get_card(name)
    if as_json:
        print(json.dumps(asdict(card)))
        return
    from hyperpeft.console import print_table

    height, width, bands = card.shape
    print(f"{card.title}: {card.sensor}, {height} x {width} pixels, {bands} bands, {card.gsd} m")
    if card.note:
        print(card.note)
    print_table(
        ["id", "class", "pixels"],
        [[str(i), label, f"{count:,}"] for i, (label, count) in card.classes.items()],
    )
    for file in card.files:
        print(f"{file.role}: {find(file) or f'not here ({file.url or file.names[0]})'}")


def scenes_fetch(
    name: Annotated[str, typer.Argument(help="A card's name.")], quiet: Quiet = False
) -> None:
    """Download a scene into the cache and verify it.

    Example: `hyperpeft scenes fetch pavia-university`
    """
    from hyperpeft.scenes import fetch, get_card

    card = get_card(name)
    with console(quiet) as progress:
        paths = fetch(card, progress.fetched)
    if not quiet:
        print("\n".join(map(str, dict.fromkeys(paths))))


def backbones_list(as_json: AsJson = False) -> None:
    """List the backbones that can be named.

    Example: `hyperpeft backbones list`
    """
    from hyperpeft.weights import describe

    rows = describe()
    if as_json:
        print(json.dumps(rows))
        return
    from hyperpeft.console import print_table

    print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def backbones_convert(
    file: Annotated[Path, typer.Argument(help="A SpectralGPT checkpoint, .pth or .pt.")],
    out: Annotated[Path | None, typer.Option(help="[default: FILE.safetensors]")] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Attention heads [default: width // 64].")
    ] = None,
) -> None:
    """Check a checkpoint key by key and write it as safetensors.

    Example: `hyperpeft backbones convert SpectralGPT+.pth`
    """
    from hyperpeft.files import replacing
    from hyperpeft.weights import convert, encoder_from, read_checkpoint

    target = out or file.with_suffix(".safetensors")
    refuse_inputs([target], [("the checkpoint", file)])
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out {target}", expected="a name that ends in .safetensors")
    with replacing(target) as temporary:  # takes its name when every key is accounted for
        convert(file, temporary)
        state = read_checkpoint(temporary)
        model, account = encoder_from(state, num_heads=num_heads, source=str(file))
    print(
        f"{target}: width {model.dim}, depth {model.depth}; {len(account.used)} tensors of the "
        f"encoder, {len(account.set_aside)} of the pretraining decoder set aside"
    )


def adapters_list(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List trained runs: method, parameters, size, backbone, scene and accuracy.

    Example: `hyperpeft adapters list runs/sa runs/pu`
    """
    from hyperpeft.exports import Row, list_runs

    rows = list_runs(runs)
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))
    elif not quiet:
        from hyperpeft.console import print_table

        print_table(
            [*Row._fields[:3], "MB", *Row._fields[4:6], "OA %"],
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
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[Path, typer.Option("--to", help="New folder to write.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's adapter as a folder that stock PEFT loads, with head and model card.

    Example: `hyperpeft adapters export runs/sa --to sa-adapter`
    """
    from hyperpeft.exports import export

    files = [str(path) for path in export(run, to)]
    if as_json:
        print(json.dumps({"folder": str(to), "files": files}))
    elif not quiet:
        print("\n".join(files))


def adapters_merge(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    backbone: Annotated[str | None, typer.Option(help="Where the base checkpoint is now.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the encoder of a run with its adapter merged: plain weights for --backbone.

    Example: `hyperpeft adapters merge runs/sa --out sa.safetensors`
    """
    from hyperpeft.exports import merge

    result = merge(run, out, backbone=backbone)
    if as_json:
        print(json.dumps(result))
    elif not quiet:
        print(f"{out}: {result['tensors']} tensors, {result['bytes'] / 1e6:.1f} MB")
