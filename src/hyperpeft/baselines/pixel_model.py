"""A classifier of pixels as an ONNX graph, read from a file; scikit-learn is not needed."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from hyperpeft.baselines.onnx_models import rebuilt_forest, rebuilt_linear, rebuilt_machine
from hyperpeft.errors import BundleError
from hyperpeft.models.graphs.frame import FORMAT, content_of, metadata_of, operators, sizes
from hyperpeft.models.graphs.session import Session
from hyperpeft.system.files import replacing
from hyperpeft.system.resources import thread_count

_KINDS = {"forest": rebuilt_forest, "machine": rebuilt_machine, "linear": rebuilt_linear}
BLOCK = 256  # pixels per call: always the same number, so that a pixel has the same last bits
LARGEST = 2**30  # bytes of a model; protobuf ends at twice that


@dataclass(frozen=True, eq=False)
class PixelModel:
    """A fitted classifier of pixels in ONNX.

    Attributes
    ----------
    content : bytes
        What is written to a file.
    features, classes : int
        F, K.
    """

    content: bytes
    features: int
    classes: int

    @cached_property
    def _session(self) -> Session:
        return Session(self.content)

    @property
    def runtime(self) -> str:
        """What executes it, in words."""
        return self._session.runtime

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores (n, K) float64 of features (n, F) float32, on several threads.

        Every call of the graph has `BLOCK` pixels, on one thread: the scores of a pixel depend on
        no other pixel and on no number of threads.
        """
        session = self._session

        def score(start: int) -> np.ndarray:
            block = features[start : start + BLOCK]
            full = np.zeros((BLOCK, self.features), np.float32)
            full[: len(block)] = block
            return session.run("scores", {"features": full})[: len(block)]

        starts = range(0, len(features), BLOCK)
        threads = min(thread_count(), len(starts))
        if threads <= 1:
            blocks = [score(start) for start in starts]
        else:
            with ThreadPoolExecutor(threads) as pool:
                blocks = list(pool.map(score, starts))
        return np.concatenate(blocks) if blocks else np.empty((0, self.classes))

    def digest(self) -> str:
        """Hash of the graph and of what executes it."""
        return hashlib.sha256(self.content + onnxruntime.__version__.encode()).hexdigest()

    def to_file(self, path: Path) -> None:
        """Write the ONNX file."""
        with replacing(path) as temporary:
            temporary.write_bytes(self.content)

    @classmethod
    def from_file(cls, path: Path) -> PixelModel:
        """Read what `to_file` wrote: its numbers are checked and the graph is built again.

        Raises
        ------
        BundleError
            For a file that is missing, damaged, too large, or another kind of graph.
        """
        try:
            graph = _graph_of(content_of(path, LARGEST))
            features, classes = sizes(graph)
        except ValueError as error:
            why = " ".join(str(error).split())[:300]
            raise BundleError(f"{path} is not a classifier of pixels: {why}") from None
        return cls(graph.SerializeToString(deterministic=True), features, classes)

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelModel, (self.content, self.features, self.classes)


def _graph_of(content: bytes) -> onnx.ModelProto:
    """The graph that a file's numbers make, checked and built again; ValueError where none."""
    try:
        given = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ValueError(f"it is no ONNX file ({error})") from None
    metadata = metadata_of(given)
    rebuilt = _KINDS.get(metadata.get("kind", ""))
    if metadata.get("format") != FORMAT or rebuilt is None:
        got = f"{metadata.get('format')!r} of {metadata.get('kind')!r}"
        raise ValueError(f"expected {FORMAT!r}, got {got}")
    graph = rebuilt(given)
    if operators(graph) != operators(given):
        raise ValueError(f"expected a graph of {operators(graph)}, got {operators(given)}")
    return graph
