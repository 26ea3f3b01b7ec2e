"""Backbones: list, convert, pretrain.

The command line imports what computes when it computes: torch takes seconds to load.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.cli.console import Console, print_table
from hyperpeft.errors import ConfigError
from hyperpeft.models import describe
from hyperpeft.runs.file_names import BACKBONE
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import refuse_inputs


def backbones_list(as_json: AsJson = False) -> None:
    """List the backbones that can be named.

    Example: `hyperpeft backbones list`
    """
    rows = describe()
    if as_json:
        print(json.dumps(rows))
        return
    print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def backbones_convert(
    file: Annotated[Path, typer.Argument(help="A SpectralGPT checkpoint, .pth or .pt.")],
    out: Annotated[Path | None, typer.Option(help="[default: FILE.safetensors]")] = None,
    num_heads: Annotated[
        int | None,
        typer.Option(
            help="Attention heads, which OUT will name [default: those of the built-in size of "
            "this width and depth, else width // 64]."
        ),
    ] = None,
) -> None:
    """Check a checkpoint key by key and write it as safetensors.

    Example: `hyperpeft backbones convert SpectralGPT+.pth`
    """
    from hyperpeft.models import convert, encoder_from, read_checkpoint

    target = out or file.with_suffix(".safetensors")
    refuse_inputs([target], [("the checkpoint", file)])
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out {target}", expected="a name that ends in .safetensors")
    with replacing(target) as temporary:  # takes its name when every key is accounted for
        convert(file, temporary, num_heads)
        state = read_checkpoint(temporary)
        model, account = encoder_from(state, num_heads=num_heads, source=str(file))
    print(
        f"{target}: width {model.dim}, depth {model.depth}, {model.num_heads} heads; "
        f"{len(account.used)} tensors of the encoder, {len(account.set_aside)} of the "
        "pretraining decoder set aside"
    )


def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML, such as configs/pretrain-tiny.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder to write, or to continue in.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare the data.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Pretrain a backbone; the same command resumes an interrupted run.

    Example: `hyperpeft pretrain configs/pretrain-tiny.yaml --out runs/pretrain-tiny`
    """
    from hyperpeft.pretraining.config import read_pretrain_config
    from hyperpeft.pretraining.run import pretrain as pretrain_backbone

    with Console(quiet=quiet or as_json) as progress:
        options = read_pretrain_config(config)
        progress.stage("Pretraining")
        record = pretrain_backbone(
            options, out, workers=workers, watch=progress.pretrained,
            inputs=[("the configuration", config)],
        )  # fmt: skip
    if as_json:
        print(json.dumps(record))
    elif not quiet:
        rate = record["timing"]["windows_per_second"] or 0
        print(f"{record['windows']:,} windows, {rate:.0f} a second: {out / BACKBONE}")
