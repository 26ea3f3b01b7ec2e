"""The pixels of a scene that a run is least sure of, as points to visit and label.

The rule stands in `assessment.uncertainty`; this module maps the candidates with a run, reads their
spectra and writes the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hyperpeft.assessment.points import refuse_filled
from hyperpeft.assessment.uncertainty import Diversity, Measure, check_rule, choose, uncertainty
from hyperpeft.errors import ConfigError
from hyperpeft.mapping import SIZE, Layers, Mapper, plan, tiles_here
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, mask_of, pixel_centres
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.file_names import SPLIT
from hyperpeft.runs.inputs import inputs_of_run
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import files_of, open_scene, read_labels, text_column, write_layer
from hyperpeft.splits import load as load_split
from hyperpeft.system.files import flush, replacing
from hyperpeft.system.output_folder import Inputs, refuse_inputs, require_ending

LAYER = "suggested"
MOST = 2**19  # candidates; of a larger scene, those of some blocks drawn at random
KEPT = 4096  # candidates of which the spectra are read, the most uncertain ones
_BLOCK = 64  # pixels
_COMPONENTS = 12


@dataclass(frozen=True)
class Suggestions:
    """Pixels to label, the first one first.

    Attributes
    ----------
    places : ndarray of int, shape (n, 2)
        Rows and columns.
    uncertainty : ndarray of float, shape (n,)
        By `measure`.
    class_ids, second_ids : ndarray of int, shape (n,)
        The most probable class of each, and the next; 0 where the run has one class only.
    probabilities : ndarray of float, shape (n,)
        Of the most probable class.
    measure, diversity : str
    candidates : int
        Pixels that were looked at.
    """

    places: np.ndarray
    uncertainty: np.ndarray
    class_ids: np.ndarray
    second_ids: np.ndarray
    probabilities: np.ndarray
    measure: str
    diversity: str
    candidates: int


def suggest(
    run: Bundle,
    scene: Scene,
    *,
    count: int = 20,
    measure: Measure = "margin",
    diversity: Diversity = "kmeans++",
    min_distance: float = 3.0,
    labelled: np.ndarray | None = None,
    seed: int = 0,
    watch: Callable[[int, int], None] | None = None,
) -> Suggestions:
    """Choose pixels to label next.

    Parameters
    ----------
    run : Bundle
        From `load_run`.
    scene : Scene
        The run's, or another with the same bands.
    count : int
    measure : {"margin", "entropy", "random"}
        Of uncertainty; "random" is plain random sampling.
    diversity : {"kmeans++", "core-set", "none"}
    min_distance : float
        In pixels, between points and to labelled pixels.
    labelled : ndarray of bool, shape (H, W), optional
        Pixels that have a label, or class ids with 0 elsewhere; those of `scene.labels` unless
        given.
    seed : int
    watch : callable, optional
        Told (pixels done, pixels in all).

    Returns
    -------
    Suggestions

    Raises
    ------
    SceneError
        The scene has other bands.
    ConfigError
        No pixel is left to label, the options are unknown, or `labelled` has another shape.

    See Also
    --------
    hyperpeft.assessment.uncertainty : the rule and its sources.
    """
    if count < 1:
        raise ConfigError("count", expected="1 or more", got=count)
    if not isinstance(run, Bundle):
        raise ConfigError(
            "suggest", expected="a Bundle", got=f"a {type(run).__name__}",
            hint="load it with hyperpeft.load_run(folder)",
        )  # fmt: skip
    run.check(scene)
    check_rule(measure, diversity)
    known = _known(scene, labelled)
    where = _candidates(scene.valid & ~known, seed)
    if not where.any():
        raise ConfigError("suggest", expected="valid pixels without a label", got="none")
    random = np.random.default_rng(seed)
    found = _predict(run, scene, where, measure, max(KEPT, 20 * count), random, watch)
    marked = np.argwhere(known)
    seen = np.argwhere(known & scene.valid)  # a labelled pixel without data is like no other
    features, marked_features = _features(scene, found.places, seen, seed)
    chosen = choose(
        found.uncertain, features, found.places, count,
        diversity=diversity, min_distance=min_distance, labelled=marked,
        labelled_features=marked_features, seed=seed,
    )  # fmt: skip
    if not len(chosen):
        raise ConfigError(
            "suggest", expected=f"a pixel {min_distance:g} or more from every label", got="none",
            hint="give a smaller --min-distance",
        )  # fmt: skip
    return Suggestions(
        found.places[chosen], found.uncertain[chosen], found.best[chosen], found.second[chosen],
        found.probability[chosen], measure, diversity, int(np.count_nonzero(where)),
    )  # fmt: skip


def write_suggestions(
    path: str | Path, run: Bundle, scene: Scene, found: Suggestions, inputs: Inputs = ()
) -> None:
    """Write suggestions as points with an empty field for the class.

    Fields: `rank` from 1, `class` (empty text, to be filled in), `predicted`, `alternative`,
    `probability`, `uncertainty`, `row`, `col`. Once filled in, the file can be given as labels:
    points without a class are left out.

    Parameters
    ----------
    path : str or Path
        Ends in .gpkg.
    inputs : iterable of (str, Path)
        Files that must not be written over.

    Raises
    ------
    ConfigError
        Among others, where the file holds suggestions that have been filled in, or other things.
    """
    path = check_target(path, inputs)
    names = {**run.classes, 0: ""}
    rows, columns = found.places.T
    points = shapely.points(pixel_centres(found.places, scene.transform))
    fields: dict[str, Any] = {
        "rank": np.arange(1, len(rows) + 1),
        "class": np.full(len(rows), None, dtype=object),
        "predicted": text_column(names[int(i)] for i in found.class_ids),
        "alternative": text_column(names[int(i)] for i in found.second_ids),
        "probability": found.probabilities.astype(np.float64),
        "uncertainty": found.uncertainty.astype(np.float64),
        "row": rows,
        "col": columns,
    }
    with replacing(path) as temporary:
        temporary.unlink()
        crs = None if scene.transform is None else scene.crs
        write_layer(temporary, LAYER, fields, shapely.to_wkb(points), crs)
        flush(temporary)


def suggest_to_file(
    run: Path,
    out: Path,
    *,
    scene: str | None = None,
    labels: str | None = None,
    backbone: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[Bundle, Suggestions]:
    """Suggest pixels for a run folder and write them: what `hyperpeft suggest` does.

    Parameters
    ----------
    run : Path
    out : Path
        Ends in .gpkg.
    scene : str, optional
        Another scene with the same bands.
    labels : str, optional
        Labels given since the run was trained, beside those of the run.
    backbone : str, optional
        Where the base model is now.
    progress : Progress, optional
    **options
        Of `suggest`.

    Raises
    ------
    InputError
    """
    progress = progress or Progress()
    check_rule(options.get("measure", "margin"), options.get("diversity", "kmeans++"))
    progress.stage("Loading the run")
    bundle = load_run(run, backbone=backbone)
    inputs = inputs_of_run(run, bundle.record.config, scene=scene, backbone=backbone)
    if labels is not None:
        inputs += [("the labels", path) for path in files_of(labels)]
    check_target(out, inputs)
    cube = reopen(bundle.record, run) if scene is None else open_scene(scene)
    if options.get("labelled") is None:
        options["labelled"] = _labelled_of(bundle, run, cube)
        if labels is not None:
            options["labelled"] |= read_labels(labels, scene=cube).ids > 0
    progress.stage("Mapping the candidates")
    found = suggest(bundle, cube, watch=progress.mapped, **options)
    write_suggestions(out, bundle, cube, found, inputs)
    return bundle, found


def _labelled_of(bundle: Bundle, run: Path, scene: Scene) -> np.ndarray:
    """Pixels (H, W) that have a label in the scene, or had one when the run was trained on it."""
    known = _known(scene, None)
    if (run / SPLIT).is_file() and scene.sha256 == bundle.record.scene.get("sha256"):
        split = load_split(run / SPLIT)
        known |= mask_of(np.concatenate([split.train, split.validation, split.test]), known.shape)
    return known


def check_target(path: str | Path, inputs: Inputs = ()) -> Path:
    """Refuse a file that suggestions cannot be written to, before they are made."""
    path = Path(path)
    require_ending(path, "--out", ".gpkg")
    refuse_inputs([path], inputs)
    refuse_filled(path, (LAYER,), ("class",))
    return path


def _known(scene: Scene, labelled: np.ndarray | None) -> np.ndarray:
    """Pixels (H, W) that have a label: those given, or of the scene."""
    shape = scene.valid.shape
    if labelled is None:
        return np.zeros(shape, bool) if scene.labels is None else scene.labels.ids > 0
    given = np.asarray(labelled)
    if given.shape != shape:
        raise ConfigError("suggest: labelled", expected=f"a mask {shape}", got=given.shape)
    return given != 0


def _candidates(where: np.ndarray, seed: int) -> np.ndarray:
    """The pixels of a mask (H, W), or those of some blocks where they are many."""
    total = int(np.count_nonzero(where))
    if total <= MOST:
        return where
    down, across = (-(-side // _BLOCK) for side in where.shape)
    drawn = np.random.default_rng(seed).random((down, across)) < MOST / total
    blocks = np.kron(drawn, np.ones((_BLOCK, _BLOCK), bool))
    chosen: np.ndarray = where & blocks[: where.shape[0], : where.shape[1]]
    return chosen


@dataclass(frozen=True)
class _Predicted:
    places: np.ndarray
    uncertain: np.ndarray
    best: np.ndarray
    second: np.ndarray
    probability: np.ndarray


def _predict(
    run: Bundle,
    scene: Scene,
    where: np.ndarray,
    measure: Measure,
    most: int,
    random: np.random.Generator,
    watch: Callable[[int, int], None] | None,
) -> _Predicted:
    """Map the candidates tile by tile and keep the most uncertain ones, of equals any."""
    mapper = Mapper(run.predictor, Layers(probabilities=True), refinement=run.refinement)
    tiles = [t for t in plan(where.shape, SIZE, mapper.predictor.cell) if where[t.inside].any()]
    total, done = int(np.count_nonzero(where)), 0

    def advance(pixels: int) -> None:
        nonlocal done
        done += pixels
        if watch is not None:
            watch(done, total)

    kept: list[np.ndarray] = []
    for tile, result in tiles_here(mapper, scene, tiles, advance, where):
        inside = np.argwhere(where[tile.inside])
        assert result.probabilities is not None
        chances = result.probabilities[:, inside[:, 0], inside[:, 1]].T  # (n, K)
        order = np.argsort(-chances, axis=1)
        ids = run.class_ids[order[:, :2]]
        if ids.shape[1] < 2:
            ids = np.concatenate([ids, np.zeros_like(ids)], axis=1)
        best = np.take_along_axis(chances, order[:, :1], axis=1)
        places = inside + np.array([tile.top, tile.left])
        part = np.concatenate(
            [places, uncertainty(chances, measure)[:, None], ids, best,
             random.random((len(places), 1))], axis=1,
        )  # (n, 7)  # fmt: skip
        kept = [np.concatenate([*kept, part])]
        if len(kept[0]) > 2 * most:
            kept = [_most_uncertain(kept[0], most)]
    table = _most_uncertain(kept[0], most)
    whole = table.astype(np.int64)
    return _Predicted(whole[:, :2], table[:, 2], whole[:, 3], whole[:, 4], table[:, 5])


def _most_uncertain(table: np.ndarray, most: int) -> np.ndarray:
    """The rows (n, 7) of largest uncertainty; equals by the number drawn for each, the last one.

    Drawn once a pixel, the numbers give the pixels of all tiles the same chance.
    """
    kept: np.ndarray = table[np.lexsort((table[:, 6], -table[:, 2]))[:most]]
    return kept


def _features(
    scene: Scene, places: np.ndarray, marked: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leading principal components of the spectra of candidates and of labelled pixels."""
    if len(marked) > KEPT:
        marked = np.random.default_rng(seed).permutation(marked)[:KEPT]
    spectra = _spectra(scene, np.concatenate([places, marked]))
    usable = np.isfinite(spectra).all(axis=0)
    spectra = spectra[:, usable].astype(np.float64)
    spectra -= spectra[: len(places)].mean(axis=0)
    size = min(_COMPONENTS, *spectra.shape)
    _, _, axes = np.linalg.svd(spectra[: len(places)], full_matrices=False)
    components = spectra @ axes[:size].T
    return components[: len(places)], components[len(places) :]


def _spectra(scene: Scene, places: np.ndarray) -> np.ndarray:
    """Spectra (n, B) of pixels, read block by block."""
    out = np.empty((len(places), scene.shape[2]), np.float32)
    blocks = places // _BLOCK
    order = np.lexsort(blocks.T)
    edges = np.flatnonzero((np.diff(blocks[order], axis=0) != 0).any(axis=1)) + 1
    for group in np.split(order, edges):
        if not len(group):
            continue
        (top, left), (bottom, right) = places[group].min(axis=0), places[group].max(axis=0) + 1
        values = scene.window(slice(int(top), int(bottom)), slice(int(left), int(right)))
        rows, columns = (places[group] - (top, left)).T
        out[group] = values[:, rows, columns].T
    return out
