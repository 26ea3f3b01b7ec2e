"""A trained network of windows as a predictor, and its file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hyperpeft.baselines.networks import SSFTT, HybridSN, SpectralFormer
from hyperpeft.errors import BundleError, HyperpeftError
from hyperpeft.mapping import PixelFeatures, Predictor, SpectraFeatures, cell_of
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.predictor import in_order
from hyperpeft.mapping.tiles import SceneWindow, Tile, by_cell
from hyperpeft.models.patch_geometry import MAX_PATCH
from hyperpeft.models.windows import Windows
from hyperpeft.records import Scene
from hyperpeft.spectral import HasBands
from hyperpeft.system.files import replacing
from hyperpeft.training.batches import Batches
from hyperpeft.training.classifier import check_finite

FORMAT = "hyperpeft network 1"
MOST_INPUTS = 4096


def make_network(kind: str, sizes: Mapping[str, int]) -> nn.Module:
    """A network by name and sizes: `inputs`, `window`, `classes`, and `group` of spectralformer."""
    common = sizes["inputs"], sizes["window"], sizes["classes"]
    if kind == "spectralformer":
        return SpectralFormer(*common, sizes["group"])
    return {"hybridsn": HybridSN, "ssftt": SSFTT}[kind](*common)


@dataclass(frozen=True, eq=False)
class NetworkPredictor(Predictor):
    """A network on windows of features of single pixels.

    Attributes
    ----------
    kind : str
    sizes : dict
        See `make_network`.
    model : nn.Module
        Logits (N, K) of windows (N, C, p, p).
    features : PixelFeatures
        Of reach 0; repeated in turn where the network has more inputs.
    class_ids : ndarray of int32, shape (K,)
    """

    kind: str
    sizes: dict[str, int]
    model: nn.Module
    features: PixelFeatures
    class_ids: np.ndarray

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def reach(self) -> int:
        return self.sizes["window"] // 2

    @property
    def cell(self) -> int:
        return cell_of(self.device.type)

    @property
    def bands(self) -> HasBands | None:
        seen = self.features
        if isinstance(seen, SpectraFeatures) and seen.level is None:
            return None  # of a run by an earlier version, which kept no mean spectrum
        return seen.bands

    def check(self, scene: Scene) -> None:
        self.features.check(scene)

    def prepare(self, window: SceneWindow) -> tuple[np.ndarray, tuple[int, int]]:
        padded = window.mirrored(self._inputs(window.everything()), self.reach)
        return padded, (window.tile.top, window.tile.left)

    def whole(self, scene: Scene) -> np.ndarray:
        """Inputs (C, H, W) of a scene, for training."""
        tile = Tile(0, 0, *scene.valid.shape)
        return self._inputs(SceneWindow.read(scene, tile, 0, scene.valid))

    def _inputs(self, window: SceneWindow) -> np.ndarray:
        values = self.features.prepare(window)
        inputs = self.sizes["inputs"]
        return values if len(values) == inputs else values[np.arange(inputs) % len(values)]

    def logits(
        self,
        prepared: tuple[np.ndarray, tuple[int, int]],
        positions: np.ndarray,
        *,
        scattered: bool = False,
        told: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        padded, origin = prepared
        windows = Windows.over_halo(padded, self.sizes["window"], self.device)
        parts, batches = Batches(self.cell**2), by_cell(positions, self.cell)
        self.model.eval()

        def predicted(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                logits = parts(
                    lambda part: self.model(windows.at(part)).cpu(),
                    torch.from_numpy(batch - origin),
                )
            check_finite(logits)
            return logits.numpy()

        return in_order(positions, batches, map(predicted, batches), len(self.class_ids), told)

    def to(self, device: str) -> NetworkPredictor:
        return replace(self, model=copy.deepcopy(self.model).to(device))

    @property
    def runtime(self) -> str:
        return f"torch {torch.__version__} {self.device.type} fp32"

    def on_accelerator(self) -> NetworkPredictor:
        return self.to("cuda") if torch.cuda.is_available() else self

    def fingerprint(self, into: Fingerprint) -> None:
        into.words(torch.__version__, self.device.type, self.cell, self.kind, self.sizes)
        into.words(self.class_ids.tolist())
        into.module(self.model)
        self.features.fingerprint(into)

    def model_to_file(self, path: Path) -> None:
        """Write the weights, with what the network is made of."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        metadata = {"format": FORMAT, "kind": self.kind, "sizes": json.dumps(self.sizes)}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def of_files(
        cls, path: Path, features: PixelFeatures, class_ids: np.ndarray
    ) -> NetworkPredictor:
        """With the weights of a file; BundleError where it is damaged or does not fit."""
        kind, sizes, tensors = _read(path)
        if sizes["classes"] != len(class_ids) or features.reach:
            raise BundleError(f"{path}", expected=f"{len(class_ids)} classes", got=sizes)
        if not 1 <= features.count <= sizes["inputs"]:
            raise BundleError(f"{path}", expected=f"{features.count} inputs", got=sizes)
        try:
            with torch.device("meta"):  # sizes of a file cost no memory before they are checked
                model = make_network(kind, sizes)
        except (HyperpeftError, KeyError, RuntimeError, ValueError) as error:
            raise BundleError(f"{path}: no network of {sizes} ({error})") from None
        own = model.state_dict()
        wrong = sorted(own.keys() ^ tensors.keys())
        wrong += [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
        wrong += [n for n, t in tensors.items() if not t.is_floating_point() and "num_" not in n]
        if wrong or not all(t.double().isfinite().all() for t in tensors.values()):
            raise BundleError(f"{path} does not fit the network {kind}", got=wrong[:8] or "NaN")
        model.load_state_dict(tensors, assign=True)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = model.requires_grad_(False).to(device).eval()
        return cls(kind, sizes, model, features, class_ids)


def _read(path: Path) -> tuple[str, dict[str, int], dict[str, torch.Tensor]]:
    """Kind, sizes and tensors of a file."""
    try:
        with safe_open(path, framework="pt") as file:
            texts: dict[str, str] = file.metadata() or {}
        tensors = load_file(path)
        sizes: Any = json.loads(texts.get("sizes", ""))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error})") from None
    limits = {"inputs": MOST_INPUTS, "window": MAX_PATCH, "classes": 2**16, "group": MOST_INPUTS}
    kind = texts.get("kind", "")
    fits = (
        texts.get("format") == FORMAT
        and kind in ("hybridsn", "spectralformer", "ssftt")
        and isinstance(sizes, dict)
        and limits.keys() - {"group"} <= sizes.keys() <= limits.keys()
        and all(type(n) is int and 1 <= n <= limits[name] for name, n in sizes.items())
    )
    if not fits or sizes["window"] % 2 == 0:
        raise BundleError(f"{path} is no network", expected=FORMAT, got=f"{kind} of {sizes}")
    return kind, sizes, tensors
