"""Use a run: evaluate, map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperpeft.cli.common import AllTouched, AsJson, ClassField, Quiet, ResampleLabels, console
from hyperpeft.errors import ConfigError, Interrupted


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    scene: Annotated[str | None, typer.Argument(help="Another scene with the same bands.")] = None,
    labels: Annotated[str | None, typer.Option(help="FILE[:KEY] of that scene's labels.")] = None,
    class_field: ClassField = None,
    all_touched: AllTouched = None,
    resample_labels: ResampleLabels = None,
    layout: Annotated[str | None, typer.Option(help="Axes of that scene's array.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Where the base checkpoint is now.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Test a trained run again, or on another scene.

    Example: `hyperpeft evaluate runs/sa`
    """
    with console(quiet or as_json) as progress:
        from hyperpeft.runs.evaluate import evaluate as test
        from hyperpeft.scenes import open_scene

        how: dict[str, Any] = {
            "class_field": class_field,
            "all_touched": bool(all_touched),
            "resample_labels": bool(resample_labels),
        }
        other = open_scene(scene, labels, layout, **how) if scene is not None else None
        result = test(run, other, backbone=backbone, progress=progress)
    if as_json:
        found = {"pixels": result.pixels, "left_out": result.left_out, **result.scores}
        print(json.dumps(found))
    elif not quiet:
        from hyperpeft.cli.console import print_scores

        print_scores(result.scores, result.classes)


def map_(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    scene: Annotated[str | None, typer.Argument(help="Another scene with the same bands.")] = None,
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")] = Path("map.tif"),
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write OUT_probabilities.tif, one band a class."),
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Also write OUT_confidence.tif: margin and entropy."),
    ] = False,
    adaptive: Annotated[
        bool,
        typer.Option("--adaptive", help="Encode where the map is uncertain, fill, and audit."),
    ] = False,
    tile: Annotated[
        int, typer.Option(help="Side of a tile in pixels; it bounds the memory.")
    ] = 512,
    scheduler: Annotated[
        str | None, typer.Option(help="tcp://HOST:PORT of a dask.distributed scheduler.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Axes of that scene's array.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Where the base checkpoint is now.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Map a scene of any size with a trained run: a Cloud-Optimized GeoTIFF.

    Cut off, the same command goes on from the finished tiles.

    Example: `hyperpeft map runs/sa --out sa.tif`
    """
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError(f"--out {out}", expected="a name that ends in .tif", got=out.suffix)
    beside = {
        name: out.with_name(f"{out.stem}_{name}.tif") if wanted else None
        for name, wanted in (("probabilities", probabilities), ("confidence", confidence))
    }
    with console(quiet or as_json) as progress:
        from hyperpeft.runs.bundle import load_run
        from hyperpeft.runs.evaluate import reopen
        from hyperpeft.runs.folder import files_of_run
        from hyperpeft.runs.inputs import inputs_of, located
        from hyperpeft.scenes import open_scene
        from hyperpeft.training.batching import told_to

        loaded = load_run(run, backbone=backbone)
        given = {"scene": scene, "backbone": backbone}
        own = located(loaded.record.config, run)
        inputs = [*inputs_of(given), *inputs_of(own), *files_of_run(run)]
        progress.stage("Reading the scene")
        target = open_scene(scene, layout=layout) if scene else reopen(loaded.record, run)
        progress.stage("Mapping")
        try:
            with told_to(progress.note):
                result = loaded.map(
                    target, out, **beside, adaptive=adaptive, tile=tile, scheduler=scheduler,
                    watch=progress.mapped, inputs=inputs,
                )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted", hint=f"the same command goes on from the tiles in {out}.work"
            ) from None
    if as_json:
        print(json.dumps({**vars(result), "files": [str(path) for path in result.files]}))
    elif not quiet:
        from hyperpeft.cli.console import print_mapped

        print_mapped(result, adaptive=adaptive)
