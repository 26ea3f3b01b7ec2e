"""Runs: demo, train, evaluate, map.

The command line imports what computes when it computes: torch takes seconds to load.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

import hyperpeft
from hyperpeft import mapping
from hyperpeft.cli.common import AsJson, Backbone, OtherScene, Overwrite, Quiet, RunOrFile, Runtime
from hyperpeft.cli.console import Console, print_mapped, print_record, print_scores
from hyperpeft.cli.run_options import option, values_of, with_run_options
from hyperpeft.errors import ConfigError, Interrupted
from hyperpeft.progress import told_to
from hyperpeft.runs.config import RunConfig, make_config
from hyperpeft.runs.config_files import flag, read_config, with_given
from hyperpeft.runs.file_names import MAP
from hyperpeft.runs.record import RunRecord
from hyperpeft.system.output_folder import refuse_inputs, require_ending


def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline on a generated scene, offline.

    Example: `hyperpeft demo`
    """
    config = make_config({"scene": "demo", "per_class": 20, "out": out})
    record = _train(config, quiet=quiet or as_json, overwrite=overwrite)
    _show_record(record, out, quiet=quiet, as_json=as_json)
    if not (quiet or as_json):
        run = "uv run hyperpeft" if os.environ.get("UV_RUN_RECURSION_DEPTH") else "hyperpeft"
        print(
            "\nThe scene was generated. On your own file:\n"
            f"  {run} train SCENE.tif --labels LABELS.tif --per-class 20 --out runs/mine\n"
            f"  {run} map runs/mine --out map.tif"
        )


@with_run_options
def train(
    config: Annotated[
        Path | None,
        typer.Option(help="RUN.yaml with any of these options; the command line wins."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Adapt a backbone to a scene, test it, map the scene.

    Example: `hyperpeft train salinas-a --method krona+ --per-class 10 --out runs/sa`
    """
    options = values_of(given)
    values = read_config(config) if config is not None else {}
    record = _train(
        make_config(with_given(values, options)),
        quiet=quiet or as_json,
        resume=resume,
        overwrite=overwrite,
    )
    _show_record(record, Path(record.config["out"]), quiet=quiet, as_json=as_json)


def _train(
    config: RunConfig, *, quiet: bool, resume: bool = False, overwrite: bool = False
) -> RunRecord:
    with Console(quiet=quiet) as progress:
        return hyperpeft.run(config, resume=resume, overwrite=overwrite, progress=progress)


def _show_record(record: RunRecord, out: Path, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(record.to_json(), end="")
    elif not quiet:
        print_record(record, out)


def evaluate(
    run: RunOrFile,
    scene: OtherScene = None,
    labels: Annotated[str | None, option("labels")] = None,
    class_field: Annotated[str | None, option("class_field")] = None,
    all_touched: Annotated[bool | None, option("all_touched")] = None,
    resample_labels: Annotated[bool | None, option("resample_labels")] = None,
    layout: Annotated[str | None, option("layout")] = None,
    backbone: Backbone = None,
    runtime: Runtime = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Test a trained run again, or on another scene.

    Example: `hyperpeft evaluate runs/sa`
    """
    how: dict[str, Any] = {
        "class_field": class_field,
        "all_touched": bool(all_touched),
        "resample_labels": bool(resample_labels),
    }
    _refuse_without_scene(scene, labels=labels, layout=layout, **how)
    from hyperpeft.runs.evaluate import evaluate as test

    with Console(quiet=quiet or as_json) as progress:
        other = hyperpeft.open_scene(scene, labels, layout, **how) if scene is not None else None
        result = test(run, other, backbone=backbone, runtime=runtime, progress=progress)
    if as_json:
        values = {"pixels": result.pixels, "left_out": result.left_out, **result.scores}
        print(json.dumps(values))
    elif not quiet:
        print_scores(result.scores, result.classes)


def _refuse_without_scene(scene: str | None, **options: object) -> None:
    """Refuse options of another scene where none is named: the run's own has those of the run."""
    given = [flag(name) for name, value in options.items() if value]
    if scene is None and given:
        raise ConfigError(
            given[0], expected="a scene that it is of", got="none",
            hint="name the scene behind RUN; the run's own is read as it was trained on",
        )  # fmt: skip


def map_(
    run: RunOrFile,
    scene: OtherScene = None,
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")] = Path(MAP),
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write OUT_probabilities.tif, one band a class."),
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Also write OUT_confidence.tif: margin and entropy."),
    ] = False,
    applicability: Annotated[
        bool,
        typer.Option("--applicability", help="Also write OUT_applicability.tif: index and mask."),
    ] = False,
    polygons: Annotated[
        Path | None, typer.Option(help="Also write the classes as polygons: a GeoPackage.")
    ] = None,
    smallest: Annotated[
        int,
        typer.Option("--smallest-polygon", min=1, help="Pixels; smaller patches are merged."),
    ] = 4,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="Apply the encoder only where needed, interpolate the rest, and check a sample.",
        ),
    ] = False,
    tile: Annotated[
        int, typer.Option(help="Side of a tile in pixels; it bounds the memory.")
    ] = 512,
    scheduler: Annotated[
        str | None, typer.Option(help="tcp://HOST:PORT of a dask.distributed scheduler.")
    ] = None,
    layout: Annotated[str | None, option("layout")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Multiply the values of another scene: 0.0001.")
    ] = None,
    backbone: Backbone = None,
    runtime: Runtime = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Map a scene of any size with a trained run: a Cloud-Optimized GeoTIFF.

    After an interruption the same command resumes from the finished tiles.

    Example: `hyperpeft map runs/sa --out sa.tif`
    """
    require_ending(out, "--out", ".tif", ".tiff")
    if polygons is not None:
        require_ending(polygons, "--polygons", ".gpkg")
    _refuse_without_scene(scene, layout=layout)
    beside = {
        name: out.with_name(f"{out.stem}_{name}.tif") if written else None
        for name, written in (("probabilities", probabilities), ("confidence", confidence))
    }
    from hyperpeft.runs.evaluate import reopen
    from hyperpeft.runs.inputs import inputs_of_run
    from hyperpeft.scenes import rescale

    with Console(quiet=quiet or as_json) as progress:
        loaded = hyperpeft.load_run(run, backbone=backbone, runtime=runtime)
        inputs = inputs_of_run(run, loaded.record.config, scene=scene, backbone=backbone)
        if polygons is not None:
            import pyogrio  # noqa: F401 where it is missing, this is said before the map is made

            refuse_inputs([polygons], inputs, "--polygons")
            mapping.refuse_foreign_polygons(polygons)
        area = out.with_name(f"{out.stem}_applicability.tif")
        if applicability:
            from hyperpeft.runs.evaluate import check_split, map_applicability  # a second

            refuse_inputs([area], inputs)
            mapping.refuse_foreign(area)
            check_split(run)
        progress.stage("Reading the scene")
        target = hyperpeft.open_scene(scene, layout=layout) if scene else reopen(loaded.record, run)
        if scale is not None:
            target = rescale(target, scale)
        progress.stage("Mapping")
        try:
            with told_to(progress.note):
                result = loaded.map(
                    target, out, **beside, adaptive=adaptive, tile=tile, scheduler=scheduler,
                    watch=progress.mapped, inputs=inputs,
                )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted", hint=f"the same command resumes from the tiles in {out}.work"
            ) from None
        applicable = None
        if applicability:
            progress.stage("Area of applicability")
            applicable = map_applicability(run, loaded, target, area)
            result.files.append(area)
        if polygons is not None:
            progress.stage("Polygons")
            mapping.write_polygons(out, polygons, loaded.classes, loaded.colours, smallest=smallest)
            result.files.append(polygons)
        earlier = [path.name for path in _maps_beside(out) if path not in result.files]
        if earlier:
            verb = "is" if len(earlier) == 1 else "are"
            progress.note(f"{', '.join(earlier)} {verb} of an earlier map")
    if as_json:
        values = {**vars(result), "files": [str(path) for path in result.files]}
        if applicable is not None:
            values["applicability"] = {**applicable._asdict(), "file": str(applicable.file)}
        print(json.dumps(values))
    elif not quiet:
        print_mapped(result, adaptive=adaptive)
        if applicable is not None:
            share = 100 * applicable.inside / max(applicable.pixels, 1)
            print(
                f"{share:.1f} % of the pixels are inside the area of applicability (dissimilarity "
                f"index up to {applicable.threshold:.3g})"
            )


def _maps_beside(out: Path) -> list[Path]:
    """What `map` has written beside a class map, now or earlier."""
    names = ("probabilities", "confidence", "applicability")
    rasters = [out.with_name(f"{out.stem}_{name}.tif") for name in names]
    found = [path for path in rasters if path.is_file() and mapping.is_written_here(path)]
    vectors = out.with_suffix(".gpkg")
    if vectors.is_file():
        with suppress(ModuleNotFoundError):  # without pyogrio nobody can tell
            found += [vectors] if mapping.is_polygons(vectors) else []
    return found
