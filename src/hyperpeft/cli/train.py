"""Make a run: demo, train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperpeft.cli.common import AllTouched, AsJson, ClassField, Quiet, ResampleLabels, console

if TYPE_CHECKING:
    from hyperpeft.runs.record import RunRecord


def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another run in --out.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline on a generated scene, offline.

    Example: `hyperpeft demo`
    """
    from hyperpeft.runs.config import make_config

    values = {"scene": "demo", "per_class": 20, "out": out}
    config = make_config(values)
    record = _train(config, quiet=quiet or as_json, overwrite=overwrite)
    _show_record(record, out, quiet=quiet, as_json=as_json)
    if not (quiet or as_json):
        print(
            "\nThe scene was generated. On your own file:\n"
            "  hyperpeft train SCENE.tif --labels LABELS.tif --per-class 20 --out runs/mine\n"
            "  hyperpeft map runs/mine --out map.tif"
        )


def train(
    scene: Annotated[
        str,
        typer.Argument(
            help="A card's name (see `hyperpeft scenes`), FILE[:KEY], a product's folder, or tiles "
            "as a.tif,b.tif."
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="FILE[:KEY] of class ids on the scene's grid, 0 unlabelled, or of points or "
            "polygons."
        ),
    ] = None,
    class_field: ClassField = None,
    all_touched: AllTouched = None,
    resample_labels: ResampleLabels = None,
    layout: Annotated[
        str | None, typer.Option(help='Axes of an array file, such as "h w b" or "b (w h)".')
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="RUN.yaml with any of the options below; the command line wins."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="default, or paper: the plain one of arXiv 2505.15334 [default: default]."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="full, probe, lora, lora+, krona, krona+ or lokr; "
            "or svm, svm-pca, rf, rf-pca, hybridsn, spectralformer, ssftt to compare with "
            "[default: krona+]."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="tiny, small, base, large, huge, spectralgpt, spectralgpt+ or a checkpoint "
            "[default: tiny]."
        ),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(help="Start a built-in size from its pretrained weights, where there are."),
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Layers to adapt, of q, k, v, proj, fc1, fc2 [default: q,v].")
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help='Blocks to adapt: all, or "last 4" [default: all].')
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the method, NAME=VALUE, such as rank=4; repeatable."),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Training pixels per class [default: 10].")
    ] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of each class that trains.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="A split.npz, TRAIN,TEST label files, official, disjoint or polygons."),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(help="Share of the training pixels kept for validation [default: 0]."),
    ] = None,
    split_window: Annotated[
        int | None,
        typer.Option(help="Window that --split disjoint keeps apart [default: the patch size]."),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(
            help="Window in pixels, odd, 1 to 63, or auto: chosen by the training pixels "
            "[default: auto]."
        ),
    ] = None,
    reduce: Annotated[
        str | None, typer.Option(help="Bands to 12: pca, sentinel2 or mnf [default: pca].")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Pixels that windows are resized to [default: the backbone's own]."),
    ] = None,
    normalise: Annotated[
        str | None, typer.Option(help="sqrt, zscore, minmax or bigearthnet [default: sqrt].")
    ] = None,
    reflectance_scale: Annotated[
        float | None,
        typer.Option(help="Value of a reflectance of 1, for sentinel2 with bigearthnet."),
    ] = None,
    fit_on: Annotated[
        str | None,
        typer.Option(
            help="Pixels that the reduction is fitted on: scene or train [default: scene]."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: 20]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 16]")] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak rate of the adapters' A [default: 1e-4], or of the encoder under full "
            "[default: 3e-5]."
        ),
    ] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help='Rate of B over A under "+" [default: 16].')
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without better validation before stopping; 0 never stops [default: 0]."
        ),
    ] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Flips and quarter turns [default: augment].")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16 [default: auto].")
    ] = None,
    map_scene: Annotated[
        bool | None,
        typer.Option(
            "--map/--no-map", help="Map the whole scene, or test pixels only [default: map]."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write [default: run].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another run in --out.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Adapt a backbone to a scene, test it, map the scene.

    Example: `hyperpeft train salinas-a --method krona+ --per-class 10 --out runs/sa`
    """
    from hyperpeft.runs.config import make_config, read_config, read_options

    given: dict[str, Any] = {
        "scene": scene, "labels": labels, "class_field": class_field, "all_touched": all_touched,
        "resample_labels": resample_labels, "layout": layout,
        "recipe": recipe, "method": method, "pretrained": pretrained,
        "backbone": backbone, "targets": targets, "blocks": blocks,
        "options": read_options(option) if option else None,
        "per_class": per_class, "fraction": fraction, "split": split,
        "validation": validation, "split_window": split_window, "patch_size": patch_size,
        "image_size": image_size,
        "reduce": reduce, "normalise": normalise, "reflectance_scale": reflectance_scale,
        "fit_on": fit_on, "epochs": epochs, "batch_size": batch_size, "lr": lr, "lam": lam,
        "patience": patience, "augment": augment, "precision": precision, "map": map_scene,
        "seed": seed, "out": out,
    }  # fmt: skip
    values = read_config(config) if config is not None else {}
    given = {name: value for name, value in given.items() if value is not None}
    if {"per_class", "fraction", "split"} & given.keys():  # they replace the file's choice
        values = {k: v for k, v in values.items() if k not in ("per_class", "fraction", "split")}
    record = _train(
        make_config({**values, **given}),
        quiet=quiet or as_json,
        resume=resume,
        overwrite=overwrite,
    )
    _show_record(record, Path(record.config["out"]), quiet=quiet, as_json=as_json)


def _train(config: Any, *, quiet: bool, resume: bool = False, overwrite: bool = False) -> RunRecord:
    with console(quiet) as progress:
        from hyperpeft.runs.experiment import run

        return run(config, resume=resume, overwrite=overwrite, progress=progress)


def _show_record(record: RunRecord, out: Path, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(record.to_json(), end="")
    elif not quiet:
        from hyperpeft.cli.console import print_record

        print_record(record, out)
