"""A run folder: all that is needed to use a trained adapter again, but the base weights.

run.json              the record, with classes and the hash of the base weights
adapter/              adapter_config.json + adapter_model.safetensors, in PEFT's layout
head.safetensors      LayerNorm and linear head
backbone.safetensors  in the place of adapter/ after full fine-tuning
reducer.safetensors   PCA and normaliser
split.npz             training, validation and test pixels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hyperpeft import adapters
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError
from hyperpeft.mapping import (
    SIZE,
    ClassMap,
    EncoderPredictor,
    Layers,
    Mapped,
    Mapper,
    Outputs,
    Predictor,
    Refinement,
    classify,
    map_to_files,
)
from hyperpeft.mapping.mixture import encoder_of
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT
from hyperpeft.records import Labels, Scene
from hyperpeft.records.describe import draw_classes
from hyperpeft.runs.baseline_files import load_baseline, with_classic_parts
from hyperpeft.runs.config import AUTO, METHOD
from hyperpeft.runs.file_names import (
    ADAPTER,
    BACKBONE,
    HEAD,
    REDUCER,
    REFINEMENT,
    RUN,
    SPLIT,
)
from hyperpeft.runs.inputs import inputs_of
from hyperpeft.runs.record import RunRecord
from hyperpeft.spatial import RefineOptions
from hyperpeft.spectral import Reducer, check_scale
from hyperpeft.system.files import replacing, within
from hyperpeft.system.overwrite import Inputs, refuse_inputs
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import choose_precision


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
        """The classifier, with its adapters merged; BundleError where a run has none."""
        return self._encoder().model

    @property
    def reducer(self) -> Reducer:
        """The reducer to 12 bands; BundleError where a run has none."""
        return self._encoder().reducer

    def _encoder(self) -> EncoderPredictor:
        encoder = encoder_of(self.predictor)
        if encoder is not None:
            return encoder
        method = self.record.adapter["method"]
        raise BundleError(f"a run of {method} has no adapted backbone", hint="use `predictor`")

    @property
    def classes(self) -> dict[int, str]:
        """Names of the scene's classes by id."""
        scene = self.record.scene
        return dict(zip(scene["class_ids"], scene["classes"], strict=True))

    @property
    def colours(self) -> dict[int, tuple[int, int, int]]:
        """RGB of the scene's classes by id."""
        scene = self.record.scene
        colours = [(int(r), int(g), int(b)) for r, g, b in scene["colours"]]
        return dict(zip(scene["class_ids"], colours, strict=True))

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
            Told (pixels done, pixels in all).

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
        self._check(scene)
        return classify(
            self.predictor,
            scene,
            probabilities=probabilities,
            refinement=self.refinement,
            watch=watch,
        )

    def _check(self, scene: Scene) -> None:
        """Refuse other bands, and in another scene values of another scale."""
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
            Told (pixels done, pixels in all).
        inputs : iterable of (str, Path)
            What must not be written over, besides the files that the run was trained on.

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
        self._check(scene)
        outputs = Outputs(
            Path(path),
            Path(probabilities) if probabilities is not None else None,
            Path(confidence) if confidence is not None else None,
        )
        refuse_inputs(outputs.replaced, chain(inputs, inputs_of(self.record.config)))
        layers = Layers(probabilities is not None, confidence is not None)
        return map_to_files(
            Mapper(self.predictor, layers, adaptive, self.refinement),
            scene,
            outputs,
            self.classes,
            self.colours,
            size=tile,
            scheduler=scheduler,
            watch=watch,
        )


def save_weights(folder: Path, model: Classifier, method: str, base: str) -> int:
    """Write adapter (or encoder) and head; the bytes they take together.

    Parameters
    ----------
    folder : Path
    model : Classifier
        Not merged.
    method, base : str
        Names of the method and of the base model.
    """
    written = [folder / HEAD]
    _write_tensors(model.head_state(), folder / HEAD)
    chosen = adapters.get_method(method)
    if chosen.trains_encoder:
        _write_tensors(model.encoder.state_dict(), folder / BACKBONE)
        written.append(folder / BACKBONE)
    elif chosen.adapter is not None:
        adapters.save(model.encoder, folder / ADAPTER, base)
        written += sorted((folder / ADAPTER).iterdir())
    return sum(path.stat().st_size for path in written)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    with replacing(path) as temporary:
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(plain, temporary, {"format": "pt"})


def load_run(folder: str | Path, *, backbone: str | Path | None = None) -> Bundle:
    """Load a run folder for prediction.

    Parameters
    ----------
    folder : str or Path
        What `hyperpeft train --out` wrote.
    backbone : str or Path, optional
        Where the base model is now, if it was a file that has moved.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When the folder is incomplete or the base model is another than the run was trained on.
    """
    folder = Path(folder)
    record = RunRecord.from_file(folder / RUN)
    if record.adapter["method"] in BASELINES:
        return Bundle(record, load_baseline(folder, record), load_refinement(folder, record))
    check_usable(folder, record)
    encoder = load_base(record, backbone)
    check_base(folder, record, weights_sha256(encoder.state_dict()), backbone)
    method = adapters.get_method(method_of_backbone(record))
    if method.adapter is not None:
        adapters.merge(adapters.load(encoder, folder / ADAPTER))
    elif method.trains_encoder:
        _load_tensors(encoder, folder / BACKBONE)
    model = Classifier(
        encoder,
        len(record.adapter["class_ids"]),
        centre=sees_centre(record),
        windows=windows_of(record),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return with_head(folder, record, model.to(device))


def check_usable(folder: Path, record: RunRecord) -> None:
    """BundleError for the run of a baseline, which has no backbone, and for links out of it."""
    for name in (HEAD, REDUCER, SPLIT, ADAPTER, BACKBONE):
        within(folder, name)
    method = record.adapter["method"]
    if method in BASELINES:
        raise BundleError(
            f"{folder} is a run of the baseline {method}, which has no backbone and no adapter",
            hint="give a run of an adapter's method",
        )


def load_base(record: RunRecord, backbone: str | Path | None = None) -> SpectralGPT:
    """The encoder that a run started from, or the one in `backbone`, as the run set it up."""
    config = record.config
    return load_backbone(
        backbone or record.backbone["name"],
        config["image_size"],
        config["num_heads"],
        stride=config["stride"] or PATCH,
        # A built-in size that started from scratch does so again, whatever weights there are now.
        pretrained=backbone is not None or bool(record.backbone.get("pretrained", True)),
    )


def windows_of(record: RunRecord) -> tuple[int, ...]:
    """Sides of a run's windows; records of before there could be several hold a number."""
    sizes = record.config["patch_size"]
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def load_refinement(
    folder: Path, record: RunRecord, reducer: Reducer | None = None
) -> Refinement | None:
    """The refinement of a run; None where it has none, or is older than refinement."""
    kind = record.config.get("refine", "none")
    if kind == "none":
        return None
    reducer = Reducer.from_file(folder / REDUCER) if reducer is None else reducer
    return Refinement.from_file(folder / REFINEMENT, RefineOptions(kind), reducer)


def sees_centre(record: RunRecord) -> bool:
    """Whether a run's head sees the centre pixel; records of before there was a choice lack it."""
    return bool(record.config.get("centre", False))


def check_base(
    folder: Path, record: RunRecord, got: str, backbone: str | Path | None = None
) -> None:
    """BundleError where a base model's hash `got` is not the one that a run was trained on."""
    expected = record.backbone["weights_sha256"]
    if expected != got:
        raise BundleError(
            f"{folder} was trained on another base model than {backbone or 'the one it names'}",
            expected=f"weights of sha256 {expected}",
            got=got,
            hint="give the checkpoint it was trained on with --backbone",
        )


def with_head(folder: Path, record: RunRecord, model: Classifier) -> Bundle:
    """A bundle of a model whose encoder is ready: head and reducer are read from the folder."""
    model.requires_grad_(False)
    _load_tensors(model, folder / HEAD, expected=set(model.head_state()))
    reducer = Reducer.from_file(folder / REDUCER)
    predictor = EncoderPredictor(
        model.eval(),
        reducer,
        np.array(record.adapter["class_ids"], np.int32),
        windows_of(record),
        choose_precision(record.config["precision"], next(model.parameters()).device),
    )
    mixed = with_classic_parts(folder, record, predictor)
    return Bundle(record, mixed, load_refinement(folder, record, reducer))


def method_of_backbone(record: RunRecord) -> str:
    """The adapter method of a run; of `auto`, that of its part on the backbone."""
    method = str(record.adapter["method"])
    return METHOD if method == AUTO else method


def _load_tensors(module: nn.Module, path: Path, expected: set[str] | None = None) -> None:
    """Copy the tensors of a file into a module; every one must be there and fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read ({error})") from None
    own = module.state_dict()
    names = expected if expected is not None else set(own)
    wrong = sorted(names ^ set(tensors))
    wrong += sorted(n for n in names & set(tensors) if own[n].shape != tensors[n].shape)
    if wrong:
        raise BundleError(f"{path} does not fit this model", expected=sorted(names), got=wrong)
    odd = [name for name, tensor in tensors.items() if not tensor.float().isfinite().all()]
    if odd:
        raise BundleError(f"{path}: {', '.join(odd[:8])}", expected="finite numbers", got="others")
    module.load_state_dict(tensors, strict=expected is None)
