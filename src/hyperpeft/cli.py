"""The command line: thin commands over the other rooms, and the only one that prints.

torch and the readers are imported inside the commands that need them, so that `--help` answers
at once.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hyperpeft import __version__
from hyperpeft.errors import ConfigError, HyperpeftError, InputError, Interrupted
from hyperpeft.offline import stay_offline

if TYPE_CHECKING:
    from hyperpeft.records import RunRecord

app = typer.Typer(
    name="hyperpeft",
    help="Class maps of hyperspectral scenes from a few labelled pixels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
scenes_app = typer.Typer(no_args_is_help=True, help="Benchmark scenes: list, look at, download.")
backbones_app = typer.Typer(no_args_is_help=True, help="Backbones: list, convert checkpoints.")
adapters_app = typer.Typer(no_args_is_help=True, help="Trained adapters: list, export, merge.")
app.add_typer(scenes_app, name="scenes")
app.add_typer(backbones_app, name="backbones")
app.add_typer(adapters_app, name="adapters")

# The system refuses: a full disk, a read-only one, a folder of someone else, a path that cannot be.
NO_DEFECT = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.ENAMETOOLONG, errno.EMFILE, errno.EIO,
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ClassField = Annotated[
    str | None, typer.Option(help="Field of vector or CSV labels that holds the classes.")
]
AllTouched = Annotated[
    bool | None,
    typer.Option(
        "--all-touched/--centre", help="Pixels a polygon touches, or whose centre it covers."
    ),
]
ResampleLabels = Annotated[
    bool | None,
    typer.Option("--resample-labels", help="Nearest neighbour for a label raster of another grid."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def main() -> None:
    """Entry point: turns exceptions into messages and exit statuses."""
    # A step of a small model is thousands of short parallel loops. By default GNU OpenMP's threads
    # spin long at the end of each: with a second process on two cores a step of `tiny` took
    # 2,400 ms instead of 85. This count gives 200 ms there and 87 alone; sleeping at once
    # (OMP_WAIT_POLICY=PASSIVE) would give 150 and 129.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # GDAL keeps blocks of the files it reads, by default in 5 % of the memory: these are MB.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    stay_offline()
    try:
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
        _fail(f"{error.filename or 'a file'}: {error.strerror}", 2)
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


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out in spite of the estimates: the processor's, or a GPU's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _fail(message: str, status: int) -> NoReturn:
    # One line, whatever a file is called; control characters could hide what is printed.
    text = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
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


@app.command()
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
    from hyperpeft.config import make_config

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


@app.command()
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
        str | None, typer.Option(help="default, or paper: the plain one of arXiv 2505.15334.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="full, probe, lora, lora+, krona, krona+ or lokr; "
            "or svm, svm-pca, rf, rf-pca, hybridsn, spectralformer, ssftt to compare with."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="tiny, small, base, large, huge, spectralgpt, spectralgpt+ or a checkpoint."
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
        float | None, typer.Option(help="Share of the training pixels kept for validation.")
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
        str | None, typer.Option(help="Pixels that PCA is fitted on: scene or train.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: 20]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 16]")] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Peak rate of the adapters' A, or of the encoder under full."),
    ] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help='Rate of B over A under "+" [default: 16].')
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without better validation before stopping.")
    ] = None,
    augment: Annotated[bool | None, typer.Option(help="Flips and quarter turns.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    map_scene: Annotated[
        bool | None,
        typer.Option("--map/--no-map", help="Map the whole scene, or test pixels only."),
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
    from hyperpeft.config import make_config, read_config, read_options

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
    with _console(quiet) as progress:
        from hyperpeft.experiment import run

        return run(config, resume=resume, overwrite=overwrite, progress=progress)


def _console(quiet: bool) -> Any:
    from hyperpeft.console import Console

    return Console(quiet=quiet)


def _show_record(record: RunRecord, out: Path, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(record.to_json(), end="")
    elif not quiet:
        from hyperpeft.console import print_record

        print_record(record, out)


@app.command()
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
    with _console(quiet or as_json) as progress:
        from hyperpeft.experiment import evaluate as test
        from hyperpeft.scenes import open_scene

        how: dict[str, Any] = {
            "class_field": class_field,
            "all_touched": bool(all_touched),
            "resample_labels": bool(resample_labels),
        }
        other = open_scene(scene, labels, layout, **how) if scene is not None else None
        result = test(run, other, backbone=backbone, progress=progress)
    if as_json:
        print(json.dumps({"pixels": result.pixels, **result.scores}))
    elif not quiet:
        from hyperpeft.console import print_scores

        print_scores(result.scores, result.classes)


@app.command(name="map")
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
    with _console(quiet or as_json) as progress:
        from hyperpeft.bundle import load_run
        from hyperpeft.experiment import reopen
        from hyperpeft.halving import told_to
        from hyperpeft.scenes import open_scene

        loaded = load_run(run, backbone=backbone)
        progress.stage("Reading the scene")
        target = open_scene(scene, layout=layout) if scene else reopen(loaded.record)
        progress.stage("Mapping")
        try:
            with told_to(progress.note):
                result = loaded.map(
                    target, out, **beside, adaptive=adaptive, tile=tile, scheduler=scheduler,
                    watch=progress.mapped,
                )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted", do=f"the same command goes on from the tiles in {out}.work"
            ) from None
    if as_json:
        print(json.dumps({**vars(result), "files": [str(path) for path in result.files]}))
    elif not quiet:
        from hyperpeft.console import print_mapped

        print_mapped(result, adaptive=adaptive)


@app.command()
def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML, such as configs/pretrain-tiny.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder to write, or to continue in.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare the data.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Pretrain a backbone; the same command continues an interrupted run.

    Example: `hyperpeft pretrain configs/pretrain-tiny.yaml --out runs/pretrain-tiny`
    """
    with _console(quiet or as_json) as progress:
        from hyperpeft import pretraining

        options = pretraining.read_pretrain_config(config)
        progress.stage("Pretraining")
        record = pretraining.pretrain(options, out, workers=workers, watch=progress.pretrained)
    if as_json:
        print(json.dumps(record))
    elif not quiet:
        rate = record["timing"]["windows_per_second"] or 0
        print(f"{record['windows']:,} windows, {rate:.0f} a second: {out / 'backbone.safetensors'}")


@app.command()
def bench(
    config: Annotated[str, typer.Argument(help="BENCH.yaml, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the records [default: runs/NAME].")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Local processes; 0 computes in this one.")
    ] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler, such as tcp://host:8786.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a cell [default: cores / workers].")
    ] = None,
    scene: Annotated[
        list[str] | None, typer.Option(help="Only this scene of the grid; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method of the grid; repeatable.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, such as 0,1,2.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of every cell, NAME=VALUE, such as epochs=5."),
    ] = None,
    maps: Annotated[
        str | None, typer.Option(help="Seeds whose whole scene is mapped: none, first or all.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute cells that failed once more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the options, count the cells, stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a grid of scenes, methods, budgets, splits and seeds; go on where it was left.

    Example: `hyperpeft bench offline --workers 2 --out runs/offline`
    """
    from hyperpeft.benchmark.grid import expand, read_bench
    from hyperpeft.benchmark.options import spelled
    from hyperpeft.config import read_options

    changes = {name: v for name, v in (("threads", threads), ("maps", maps)) if v is not None}
    plan = read_bench(config, changes)
    try:
        only = tuple(int(seed) for seed in seeds.split(",")) if seeds else ()
    except ValueError:
        raise ConfigError("--seeds", expected="numbers such as 0,1,2", got=seeds) from None
    options = spelled(read_options(set_ or []))
    cells = expand(plan, scenes=scene or (), methods=method or (), seeds=only, options=options)
    folder = out or Path("runs") / plan.name
    if dry_run:
        _show_plan(plan, cells, folder, quiet=quiet, as_json=as_json)
        return
    from hyperpeft.console import BenchConsole

    watch: Any
    with BenchConsole(quiet=quiet or as_json) as watch:
        from hyperpeft.benchmark.running import run_bench

        outcomes = run_bench(
            plan, cells, folder, workers=workers, scheduler=scheduler,
            retry_failed=retry_failed, watch=watch,
        )  # fmt: skip
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if as_json:
        print(json.dumps({"folder": str(folder), "cells": [o._asdict() for o in outcomes]}))
    elif not quiet:
        print(f"{len(outcomes) - len(failed)} cells finished in {folder}")
        print(f"hyperpeft report {folder}")
    if failed:
        raise HyperpeftError(
            f"{len(failed)} of {len(outcomes)} cells failed, the first ({failed[0].path}) because "
            f"{failed[0].reason}",
            do="see failed.json in their folders, and start again with --retry-failed",
        )


def _show_plan(plan: Any, cells: Any, folder: Path, *, quiet: bool, as_json: bool) -> None:
    from hyperpeft.benchmark.cells import state_of
    from hyperpeft.benchmark.estimate import estimate
    from hyperpeft.console import print_table

    states: list[str] = [state_of(folder, cell.path) for cell in cells]
    guess = estimate(cells, folder)
    if as_json:
        rows = [
            {"path": cell.path, "state": state, "options": cell.values}
            for cell, state in zip(cells, states, strict=True)
        ]
        print(json.dumps({"name": plan.name, "cells": rows, "seconds_left": guess}))
    elif not quiet:
        print_table(
            ["scene", "split", "budget", "methods", "seeds", "cells", "finished"],
            _plan_rows(cells, states),
        )
        counts = {state: states.count(state) for state in ("done", "failed", "open")}
        print(
            f"{plan.name}: {len(cells)} cells in {folder}: {counts['done']} finished, "
            f"{counts['failed']} failed, {counts['open']} to compute"
        )
        if guess is not None:
            print(f"about {guess / 3600:.1f} h in one process, judged by the finished ones")


def _plan_rows(cells: Any, states: list[str]) -> list[list[str]]:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, cell in enumerate(cells):
        groups.setdefault((cell.scene, cell.split, cell.budget), []).append(i)
    return [
        [
            *key,
            str(len({cells[i].method for i in members})),
            str(len({cells[i].seed for i in members})),
            str(len(members)),
            str(sum(states[i] == "done" for i in members)),
        ]
        for key, members in groups.items()
    ]


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a benchmark, or of run folders.")],
    out: Annotated[Path | None, typer.Option(help="[default: FOLDER/report]")] = None,
    reference: Annotated[
        str | None, typer.Option(help="The method that the others are compared with.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn records into tables, figures and one HTML page; nothing is computed again.

    Example: `hyperpeft report runs/offline`
    """
    from hyperpeft.report import write_report

    files = write_report(folder, out or folder / "report", reference=reference)
    if as_json:
        print(json.dumps({"files": [str(path) for path in files]}))
    elif not quiet:
        print(f"{len(files)} files; open {files[0]}")


@scenes_app.command("list")
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


@scenes_app.command("info")
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


@scenes_app.command("fetch")
def scenes_fetch(
    name: Annotated[str, typer.Argument(help="A card's name.")], quiet: Quiet = False
) -> None:
    """Download a scene into the cache and verify it.

    Example: `hyperpeft scenes fetch pavia-university`
    """
    from hyperpeft.scenes import fetch, get_card

    card = get_card(name)
    with _console(quiet) as progress:
        paths = fetch(card, progress.fetched)
    if not quiet:
        print("\n".join(map(str, dict.fromkeys(paths))))


@backbones_app.command("list")
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


@backbones_app.command("convert")
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
    if target.resolve() == file.resolve():
        raise ConfigError(f"{file} is the file to write as well", do="give another --out")
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


@adapters_app.command("list")
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


@adapters_app.command("export")
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


@adapters_app.command("merge")
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
