"""A run folder: all that is needed to use a trained adapter again, but the base weights.

run.json              the record, with classes and the hash of the base weights
adapter/              adapter_config.json + adapter_model.safetensors, in PEFT's layout
head.safetensors      LayerNorm and linear head
backbone.safetensors  in the place of adapter/ after full fine-tuning
reducer.safetensors   PCA and normaliser
split.npz             training, validation and test pixels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperpeft.errors import BundleError, SceneError
from hyperpeft.mapping import (
    SIZE,
    ClassMap,
    Layers,
    Mapped,
    Mapper,
    Outputs,
    Predictor,
    Refinement,
    WindowPredictor,
    classify,
    map_to_files,
)
from hyperpeft.mapping.predictor import window_part_of
from hyperpeft.progress import default_progress
from hyperpeft.records import Labels, Scene, draw_classes
from hyperpeft.runs.inputs import inputs_of, inputs_of_scene
from hyperpeft.runs.record import RunRecord
from hyperpeft.spectral import Reducer, check_scale
from hyperpeft.system.output_folder import Inputs, refuse_inputs

if TYPE_CHECKING:
    from hyperpeft.training.classifier import Classifier


@dataclass(frozen=True, repr=False)
class Bundle:
    """A trained model ready to predict.

    Attributes
    ----------
    record : RunRecord
    predictor : Predictor
    refinement : Refinement or None
        Of the probabilities, on the image.
    """

    record: RunRecord
    predictor: Predictor
    refinement: Refinement | None = None

    @property
    def class_ids(self) -> np.ndarray:
        """Ids (K,) int32 of the predictor's classes, ascending."""
        return self.predictor.class_ids

    @property
    def model(self) -> Classifier:
        """The classifier, with its adapters merged; BundleError where no torch executes it."""
        model = getattr(self._window_part(), "model", None)
        if model is None:
            raise BundleError(
                "this run was loaded from its exported model", hint='load it with runtime="torch"'
            )
        found: Classifier = model
        return found

    @property
    def reducer(self) -> Reducer:
        """The reducer to 12 bands; BundleError where a run has none."""
        return self._window_part().reducer

    def _window_part(self) -> WindowPredictor:
        part = window_part_of(self.predictor)
        if part is not None:
            return part
        method = self.record.adapter["method"]
        raise BundleError(f"a run of {method} has no adapted backbone", hint="use `predictor`")

    @property
    def runtime(self) -> str:
        """What executes the model, in words."""
        return self.predictor.runtime

    @property
    def classes(self) -> dict[int, str]:
        """Names of the scene's classes by id."""
        return self.record.class_names

    @property
    def colours(self) -> dict[int, tuple[int, int, int]]:
        """RGB of the scene's classes by id."""
        return self.record.class_colours

    def __repr__(self) -> str:
        return f"<Bundle of {self.record!r}>"

    def _repr_html_(self) -> str:
        return self.record._repr_html_()

    def plot_map(self, scene: Scene, ax: Any = None) -> Any:
        """Classify a scene and draw its map with a legend of the classes that occur; the axes."""
        from matplotlib import pyplot  # takes a second to load

        if ax is None:
            _, ax = pyplot.subplots(figsize=(6, 5), layout="constrained")
        ids = self.predict(scene)
        draw_classes(ax, ids, Labels(ids, self.classes, self.colours, "map"))
        ax.set_title(scene.name.replace("$", r"\$"))
        return ax

    def classify(
        self,
        scene: Scene,
        *,
        probabilities: bool = False,
        watch: Callable[[int, int], None] | None = None,
    ) -> ClassMap:
        """Classify every valid pixel of a scene with the bands of the training scene.

        Parameters
        ----------
        scene : Scene
        probabilities : bool
            Keep the probability of every class as well: float32 (K, H, W), NaN outside the scene,
            K as in `class_ids`.
        watch : callable, optional
            Told (pixels done, pixels in all); by default a bar in a notebook.

        Returns
        -------
        ClassMap
            `ids` int32 (H, W), 0 where the scene is not valid; `probabilities`; `pixels`,
            `seconds`.

        Raises
        ------
        SceneError
            When the scene has other bands.
        """
        self.check(scene)
        return classify(
            self.predictor,
            scene,
            probabilities=probabilities,
            refinement=self.refinement,
            watch=watch or default_progress().mapped,
        )

    def check(self, scene: Scene) -> None:
        """Refuse what is no scene, other bands, and in another scene values of another scale.

        Raises
        ------
        SceneError
        """
        if not isinstance(scene, Scene):
            raise SceneError(
                "a run", expected="a Scene", got=f"a {type(scene).__name__}",
                hint="make one with hyperpeft.open_scene(path) or hyperpeft.Scene.from_array(cube)",
            )  # fmt: skip
        self.predictor.check(scene)
        own = self.record.scene.get("sha256")
        bands = self.predictor.bands
        if bands is not None and (own is None or own != scene.sha256):
            check_scale(bands, scene)

    def predict(self, scene: Scene) -> np.ndarray:
        """Class ids (H, W) int32 of a scene, 0 where it is not valid.

        Raises
        ------
        SceneError
            When the scene has other bands.
        """
        return self.classify(scene).ids

    def map(
        self,
        scene: Scene,
        path: str | Path,
        *,
        probabilities: str | Path | None = None,
        confidence: str | Path | None = None,
        adaptive: bool = False,
        tile: int = SIZE,
        scheduler: str | None = None,
        watch: Callable[[int, int], None] | None = None,
        inputs: Inputs = (),
    ) -> Mapped:
        """Write the class map of a scene of any size as Cloud-Optimized GeoTIFF.

        The scene is read and classified tile by tile. Cut off, whatever the reason, the same call
        resumes from the finished tiles in the folder `path` + ".work".

        Parameters
        ----------
        scene : Scene
        path : str or Path
            Of the class map.
        probabilities : str or Path, optional
            Of a second file, with the probability of each class as a band of 16-bit floats.
        confidence : str or Path, optional
            Of a third file: margin between the two best probabilities, entropy in nats, and 1
            where the encoder was asked.
        adaptive : bool
            Ask the encoder where the map is uncertain, fill elsewhere, and audit what was filled.
        tile : int
            Side of a tile in pixels.
        scheduler : str, optional
            Address of a dask.distributed scheduler whose workers do the work.
        watch : callable, optional
            Told (pixels done, pixels in all); by default a bar in a notebook.
        inputs : iterable of (str, Path)
            What must not be written over, besides the files that the run was trained on and those
            that the scene was opened from.

        Returns
        -------
        Mapped
            `files` that were written, and what it took.

        Raises
        ------
        SceneError
            When the scene has other bands, or cannot be read.
        ConfigError
            When another process maps to the same file, or a file to write is an input, or cannot be
            written.
        """
        self.check(scene)
        outputs = Outputs(
            Path(path),
            Path(probabilities) if probabilities is not None else None,
            Path(confidence) if confidence is not None else None,
        )
        refuse_inputs(
            outputs.replaced,
            chain(inputs, inputs_of(self.record.config), inputs_of_scene(scene)),
        )
        layers = Layers(probabilities is not None, confidence is not None)
        return map_to_files(
            Mapper(self.predictor, layers, adaptive, self.refinement),
            scene,
            outputs,
            self.classes,
            self.colours,
            size=tile,
            scheduler=scheduler,
            watch=watch or default_progress().mapped,
        )
