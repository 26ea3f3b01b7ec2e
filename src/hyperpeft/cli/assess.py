"""A sample to check, what the checked sample says of a map, and what to label next.

The command line imports what computes when it computes.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft import assessment
from hyperpeft.cli.common import AsJson, Backbone, OtherScene, Quiet, Run
from hyperpeft.cli.console import Console, print_table
from hyperpeft.errors import ConfigError
from hyperpeft.system.files import printable, replacing
from hyperpeft.system.output_folder import refuse_inputs


def sample(
    map_: Annotated[Path, typer.Argument(metavar="MAP", help="Class map (GeoTIFF).")],
    out: Annotated[Path, typer.Option(help="GeoPackage of points to write.")] = Path("points.gpkg"),
    size: Annotated[int | None, typer.Option(min=1, help="Number of points in all.")] = None,
    standard_error: Annotated[
        float | None,
        typer.Option(
            help="Wanted standard error of overall accuracy, such as 0.01; gives the size."
        ),
    ] = None,
    minimum: Annotated[
        int | None, typer.Option(min=1, help="Points in each stratum; 50 where the size allows.")
    ] = None,
    users_accuracy: Annotated[
        list[str] | None,
        typer.Option(
            help="Expected user's accuracy, a number or CLASS=NUMBER; Neyman's allocation."
        ),
    ] = None,
    strata: Annotated[
        Path | None, typer.Option(help="Raster of other strata than the map's classes.")
    ] = None,
    show_class: Annotated[
        bool, typer.Option("--show-class", help="Show the map's class; it biases who judges.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random draw.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw a stratified random sample of a map, to be checked by a person.

    Example: `hyperpeft sample map.tif --size 300 --out points.gpkg`
    """
    drawn = assessment.sample_map(
        map_, out, size=size, standard_error=standard_error, minimum=minimum,
        users=_users(users_accuracy), strata=strata, show_class=show_class, seed=seed,
    )  # fmt: skip
    if as_json:
        strata_ = {name: {"pixels": n, "points": k} for name, (n, k) in drawn.strata.items()}
        print(json.dumps({"file": str(drawn.path), "strata": strata_, "rule": drawn.rule,
                          "notes": list(drawn.notes)}))  # fmt: skip
    elif not quiet:
        print_table(
            ["stratum", "pixels", "points"],
            [[name, f"{n:,}", str(k)] for name, (n, k) in drawn.strata.items()],
        )
        total = sum(k for _, k in drawn.strata.values())
        print(f"{total} points ({drawn.rule}): {drawn.path}")
        for note in drawn.notes:
            print(f"note: {printable(note)}")
        words = shlex.join(["hyperpeft", "assess", str(map_), "--reference", str(out)])
        print(f"fill in the field reference, then: {words}")


def _users(given: list[str] | None) -> float | dict[str, float] | None:
    if not given:
        return None
    try:
        if len(given) == 1 and "=" not in given[0]:
            return float(given[0])
        pairs = [text.rpartition("=") for text in given]
        return {name: float(value) for name, _, value in pairs}
    except ValueError:
        raise ConfigError(
            "--users-accuracy", expected="a number, or CLASS=NUMBER for each", got=" ".join(given)
        ) from None


def assess(
    map_: Annotated[Path, typer.Argument(metavar="MAP", help="Class map (GeoTIFF).")],
    reference: Annotated[Path, typer.Option(help="Points with their class on the ground.")],
    class_field: Annotated[
        str | None,
        typer.Option(help="Field of the points that holds the class.", show_default="reference"),
    ] = None,
    interval: Annotated[
        str, typer.Option(help="wilson, or normal (p +- 1.96 SE, as in Olofsson et al. 2014).")
    ] = "wilson",
    html: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Tables to write.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Accuracy and area of a map with 95 % intervals, from a checked sample.

    Example: `hyperpeft assess map.tif --reference points.gpkg`
    """
    from hyperpeft.assessment import all_tables, assess_map, headline, to_html, to_latex

    inputs = [("the map", map_), ("the reference", reference)]
    for option, path in (("--html", html), ("--latex", latex)):
        if path is not None:
            refuse_inputs([path], inputs, option)
    if html is not None and latex is not None and html.resolve() == latex.resolve():
        raise ConfigError("--html and --latex", expected="two files", got=str(html))
    found = assess_map(map_, reference, class_field, rule=interval)  # type: ignore[arg-type]
    for path, render in ((html, to_html), (latex, to_latex)):
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(render(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found.to_dict()))
    elif not quiet:
        for caption, heads, rows in all_tables(found):
            print(caption)
            print_table(heads, rows)
            print()
        print(headline(found))
        for note in found.notes:
            print(f"note: {printable(note)}")


def suggest(
    run: Run,
    scene: OtherScene = None,
    out: Annotated[Path, typer.Option(help="GeoPackage of points to write.")] = Path(
        "suggested.gpkg"
    ),
    count: Annotated[int, typer.Option(min=1, help="Number of points.")] = 20,
    measure: Annotated[
        str,
        typer.Option(help="Uncertainty by margin or entropy; or random, for plain sampling."),
    ] = "margin",
    diversity: Annotated[
        str,
        typer.Option(help="Rule that keeps points unlike: kmeans++, core-set or none."),
    ] = "kmeans++",
    min_distance: Annotated[
        float, typer.Option(min=0, help="Pixels between points, and to labelled pixels.")
    ] = 3.0,
    labels: Annotated[
        str | None, typer.Option(help="Labels given since, beside those of the run.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random draw.")] = 0,
    backbone: Backbone = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Choose the pixels of a scene to label next.

    Example: `hyperpeft suggest runs/sa --count 20 --out suggested.gpkg`
    """
    with Console(quiet=quiet or as_json) as progress:
        bundle, found = assessment.suggest_to_file(
            run, out, scene=scene, labels=labels, backbone=backbone, progress=progress,
            count=count, measure=measure, diversity=diversity, min_distance=min_distance, seed=seed,
        )  # fmt: skip
    names = {**bundle.classes, 0: ""}
    rows = [
        [rank, int(r), int(c), names[int(one)], names[int(two)], round(float(p), 3)]
        for rank, ((r, c), one, two, p) in enumerate(
            zip(found.places, found.class_ids, found.second_ids, found.probabilities, strict=True),
            start=1,
        )
    ]
    keys = ["rank", "row", "column", "class", "next class", "probability"]
    if as_json:
        points = [dict(zip(keys, row, strict=True)) for row in rows]
        print(json.dumps({"file": str(out), "points": points, "candidates": found.candidates,
                          "measure": measure, "diversity": diversity}))  # fmt: skip
    elif not quiet:
        print_table(keys, [[str(value) for value in row] for row in rows])
        if len(rows) < count:
            print(f"note: the least distance leaves {len(rows)} of {count} points")
        print(f"{len(rows)} points of {found.candidates:,} candidates: {out}")
        print("fill in the field class, and give the file as labels with those you have")
