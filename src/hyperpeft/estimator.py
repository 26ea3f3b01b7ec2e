"""`SceneClassifier`: arrays in, arrays out, by the conventions of scikit-learn.

    clf = SceneClassifier(method="krona+", seed=0).fit(cube, labels)   # (H, W, B), (H, W)
    clf.predict(cube)                                                  # (H, W)

It stands on what the command line stands on (`runs.methods`): the same options, scene, pixels and
seed give the same numbers. Nothing is written but by `save`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.mapping import ClassMap
from hyperpeft.progress import Progress, default_progress
from hyperpeft.records import UNLABELLED, Labels, Scene, Split, on_grid, role_of
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.config import AUTO, IN_MEMORY, RunConfig, make_config
from hyperpeft.runs.experiment import save_run, split_for, train
from hyperpeft.runs.file_names import SPLIT
from hyperpeft.runs.labelled_scene import with_masks
from hyperpeft.runs.load import load_run
from hyperpeft.runs.methods.contract import Trained
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import LABEL_OPTIONS, exists, is_card, labels_for, match_names, open_scene
from hyperpeft.spectral import check_scale
from hyperpeft.splits import DEFAULT_PER_CLASS, all_labelled
from hyperpeft.splits import load as load_split

_NOT_OPTIONS = ("scene", "labels", "layout", "out", "method", "seed")


class SceneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """A class for every pixel of a hyperspectral scene, learned from a few labelled ones.

    Parameters
    ----------
    method : str
        `full probe lora lora+ krona krona+ lokr`, a baseline, or "auto": the combination that the
        training pixels favour, and with `recipe="paper"` the paper's method, krona+.
    seed : int
    **options
        Every option of a run (`docs/reference/options.md`) but scene, labels, layout and out.
        Where none of `per_class`, `fraction` and `split` is given, all labelled pixels train.

    Attributes
    ----------
    classes_ : ndarray of int, shape (K,)
        Class ids, ascending.
    class_names_ : dict of int to str
    n_features_in_ : int
        Bands.
    split_ : Split
        Which pixels trained, and which were kept for testing; not there where a run was loaded
        that does not hold them, such as an exported model.
    record_ : RunRecord
        Of the saved or loaded run; set by `save` and `load`.

    Examples
    --------
    >>> from hyperpeft.scenes import planted_scene
    >>> scene = planted_scene(height=24, width=24, block=6, bands=20)
    >>> clf = SceneClassifier("svm", seed=1, per_class=20).fit(scene)
    >>> clf.predict(scene).shape, clf.classes_.tolist()
    ((24, 24), [1, 2])
    """

    def __init__(self, method: str = "auto", seed: int = 0, **options: Any) -> None:
        unknown = sorted(set(options) - (set(RunConfig.model_fields) - set(_NOT_OPTIONS)))
        if unknown:
            raise TypeError(
                f"SceneClassifier has no option {', '.join(unknown)}; "
                "docs/reference/options.md lists them"
            )
        self.method = method
        self.seed = seed
        for name, value in options.items():
            setattr(self, name, value)

    @property
    def _options(self) -> tuple[str, ...]:
        """Options that were given: to `__init__`, to `set_params` or as attributes."""
        return tuple(n for n in vars(self) if n in RunConfig.model_fields and n not in _NOT_OPTIONS)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, with the options that were given."""
        return {name: getattr(self, name) for name in ("method", "seed", *self._options)}

    def set_params(self, **params: Any) -> SceneClassifier:
        """Change parameters; any option of `__init__`."""
        known = {"method", "seed", *RunConfig.model_fields} - {*_NOT_OPTIONS[:4]}
        unknown = sorted(set(params) - known)
        if unknown:
            raise ValueError(f"Invalid parameter {', '.join(map(repr, unknown))} for {self!r}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def fit(self, cube: Any, labels: Any = None, *, progress: Progress | None = None) -> Any:
        """Train.

        Parameters
        ----------
        cube : ndarray (H, W, B), DataArray, Scene, or what `open_scene` opens
        labels : ndarray of int (H, W), Labels, path, GeoDataFrame or GeoJSON dict, optional
            0 is unlabelled. Needed where the scene has none.
        progress : Progress, optional
            By default a bar in a notebook, and nothing elsewhere.

        Raises
        ------
        InputError
            Whatever is wrong with cube, labels or options, as on the command line.
        """
        config = self._config()
        scene = self._labelled(_scene_of(cube), labels, config.split)
        given = {"scene": _named(cube), "labels": None if labels is None else _named(labels)}
        config = config.model_copy(update=given)
        if self._draws():
            split = split_for(config, scene)
        else:
            assert scene.labels is not None
            split = all_labelled(
                scene.labels, seed=config.seed, validation=config.validation, valid=scene.valid
            )
        trained = train(config, scene, split, progress or default_progress())
        self._accept(trained, scene, split, config)
        return self

    def predict(self, cube: Any) -> Any:
        """Class ids (H, W) int32, 0 where a pixel is not valid.

        A DataArray for a DataArray, with its names of dims and its coordinates but the bands'.
        """
        return _like(cube, self._classify(self._given(cube)).ids)

    def predict_proba(self, cube: Any) -> Any:
        """Probabilities (H, W, K) float32 in the order of `classes_`, NaN where not valid."""
        found = self._classify(self._given(cube), probabilities=True).probabilities
        assert found is not None
        return _like(cube, np.moveaxis(found, 0, 2), self.classes_)

    def score(self, cube: Any, labels: Any = None, sample_weight: Any = None) -> float:
        """Overall accuracy, from 0 to 1, at the labelled valid pixels.

        Classes are matched by their names where both sides have names, as `evaluate` does: ids of
        text classes are numbered in each file. Pixels of a class that did not train are wrong.
        """
        scene = self._labelled(self._given(cube), labels)
        assert scene.labels is not None
        true = match_names(scene.labels, self._known_classes()).ids
        where = (true != UNLABELLED) & scene.valid
        if not where.any():
            raise LabelsError(f"no labelled pixel of scene {scene.name} is valid")
        weights = None
        if sample_weight is not None:
            given = np.asarray(on_grid(sample_weight, scene.cube, "sample_weight", ConfigError))
            if given.shape != where.shape or not given[where].sum() > 0:
                raise ConfigError(
                    "sample_weight", expected=f"{where.shape}, with a sum above 0", got=given.shape
                )
            weights = given[where]
        right = self._classify(scene).ids[where] == true[where]
        return float(np.average(right, weights=weights))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write a run folder, as `hyperpeft train --out` does; its path."""
        self._check_fitted()
        if not hasattr(self, "_trained"):
            raise ConfigError("a loaded classifier is in its run folder", hint="copy the folder")
        config = self._run_config.model_copy(update={"out": Path(folder)})
        self.record_ = save_run(config, self._scene, self.split_, self._trained, overwrite)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, *, backbone: str | Path | None = None) -> SceneClassifier:
        """A classifier from a run folder of any origin, with the options of its run."""
        bundle = load_run(folder, backbone=backbone)
        config = bundle.record.config
        found = cls(config["method"], config["seed"], **_options_of(bundle.record))
        found._bundle = bundle
        found.record_ = bundle.record
        found.classes_ = np.asarray(bundle.class_ids)
        found.class_names_ = bundle.classes
        found.n_features_in_ = int(bundle.record.scene["shape"][2])
        if (Path(folder) / SPLIT).is_file():
            found.split_ = load_split(Path(folder) / SPLIT)
        return found

    def _config(self) -> RunConfig:
        values = {name: getattr(self, name) for name in ("method", "seed", *self._options)}
        if self.method == AUTO and "recipe" in values:
            del values["method"]  # left open, it is the recipe's
        return make_config({"scene": IN_MEMORY, **values})

    def _draws(self) -> bool:
        return any(getattr(self, n, None) is not None for n in ("per_class", "fraction", "split"))

    def _labelled(self, scene: Scene, labels: Any, split: str | None = None) -> Scene:
        how = {n: getattr(self, n) for n in LABEL_OPTIONS if n in self._options}
        of_array = isinstance(labels, np.ndarray | xr.DataArray | Labels)
        if labels is not None:
            own = {**how, "class_field": None} if of_array else how  # a field is of tables
            scene = scene.with_labels(labels_for(scene, labels, **own))
        scene = with_masks(scene, split, how)
        if scene.labels is None:
            raise LabelsError(
                f"scene {scene.name} has no labels", hint="give them: fit(cube, labels)"
            )
        return scene

    def _accept(self, trained: Trained, scene: Scene, split: Split, config: RunConfig) -> None:
        assert scene.labels is not None
        self._bundle: Bundle | None = None
        self.__dict__.pop("record_", None)  # of an earlier fit
        self._trained, self._scene, self._run_config = trained, scene, config
        self.split_ = split
        self.classes_ = np.asarray(trained.class_ids)
        self.class_names_ = {i: scene.labels.classes[i] for i in self.classes_.tolist()}
        self.n_features_in_ = scene.shape[2]

    def _known_classes(self) -> Mapping[int, str]:
        """Names of all classes of the labels that trained, by id; some may not have trained."""
        if self._bundle is not None:
            return self._bundle.classes
        assert self._scene.labels is not None
        return self._scene.labels.classes

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this SceneClassifier is not fitted yet; call fit first")

    def _given(self, cube: Any) -> Scene:
        self._check_fitted()
        return _scene_of(cube)

    def _classify(self, scene: Scene, *, probabilities: bool = False) -> ClassMap:
        if self._bundle is not None:
            return self._bundle.classify(scene, probabilities=probabilities)
        watch = default_progress().mapped
        if scene.sha256 != self._scene.sha256:
            predictor = self._trained.predictor
            predictor.check(scene)
            if predictor.bands is not None:
                check_scale(predictor.bands, scene)
        return self._trained.predict(scene, probabilities=probabilities, watch=watch)


def _options_of(record: RunRecord) -> dict[str, Any]:
    """The options of a run that differ from the defaults, for a fit to the same kind of labels."""
    default = make_config({"scene": ""}).model_dump(mode="json")
    options = {
        name: record.config[name]
        for name in default
        if name not in _NOT_OPTIONS and record.config.get(name, default[name]) != default[name]
    }
    sized = {"per_class", "fraction", "split"} & set(options)
    if not sized and str(record.split.get("kind")).startswith("per-class"):
        options["per_class"] = DEFAULT_PER_CLASS  # that a run leaves open
    return options


def _named(given: Any) -> str:
    """What the configuration of a run says of a cube or of labels."""
    return str(given) if isinstance(given, str | Path) else IN_MEMORY


def _scene_of(cube: Any) -> Scene:
    """A Scene of whatever was given."""
    if isinstance(cube, Scene):
        return cube
    if isinstance(cube, str | Path):
        try:
            there = is_card(str(cube)) or exists(str(cube))
        except OSError:  # a name that no file can have
            there = False
        if not there:
            raise SceneError(
                f"there is no scene {str(cube)[:200]!r}", hint="give an array (H, W, B) or a path"
            )
        return open_scene(cube)
    return Scene.from_array(cube)


def _like(cube: Any, values: np.ndarray, classes: np.ndarray | None = None) -> Any:
    """The result with dims y and x as a DataArray that was given calls them, and its coordinates.

    They are the very coordinates: xarray drops pixels whose coordinates differ in the last bit.
    """
    if not isinstance(cube, xr.DataArray):
        return values
    names = {role_of(str(dim)): dim for dim in cube.dims}
    place = cube.isel({names["band"]: 0}, drop=True)
    dims, coords = (names["y"], names["x"]), dict(place.coords)
    if classes is None:
        result = xr.DataArray(values, coords, dims, "class")
    else:
        coords["class"] = classes
        result = xr.DataArray(values, coords, (*dims, "class"), "probability")
    grid = cube.encoding.get("grid_mapping") or cube.attrs.get("grid_mapping")
    if grid is not None:
        result.encoding["grid_mapping"] = grid
    return result
