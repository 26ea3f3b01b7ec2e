"""ONNX Runtime executes a graph: on a GPU or through OpenVINO where they are installed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime

PREFERRED = ("CUDAExecutionProvider", "OpenVINOExecutionProvider")
PROCESSOR = "CPUExecutionProvider"


def on_gpu() -> bool:
    """Whether ONNX Runtime can execute a graph on a GPU."""
    return PREFERRED[0] in providers()


def providers() -> list[str]:
    """What is installed and used, the first choice first."""
    installed = onnxruntime.get_available_providers()
    return [name for name in PREFERRED if name in installed] + [PROCESSOR]


@dataclass(frozen=True, eq=False)
class Session:
    """A graph that is loaded when it is first run; it can be sent to another process.

    Attributes
    ----------
    content : bytes
        The ONNX model.
    providers : tuple of str
        What may execute it.
    """

    content: bytes
    providers: tuple[str, ...] = (PROCESSOR,)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        # On a processor one thread a call: batches run side by side, and their numbers depend on
        # no number of threads.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(self.content, options, providers=list(self.providers))

    @property
    def provider(self) -> str:
        """What executes the graph, such as "CPUExecutionProvider"."""
        return str(self._session.get_providers()[0])

    @property
    def runtime(self) -> str:
        """Library, version and provider in words, such as "onnxruntime 1.23 CPU fp32"."""
        provider = self.provider.removesuffix("ExecutionProvider")
        return f"onnxruntime {onnxruntime.__version__} {provider} fp32"

    @property
    def on_processor(self) -> bool:
        """Whether no accelerator executes the graph: then each call takes one thread."""
        return self.provider == PROCESSOR

    def run(self, output: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """One output of a call."""
        found: np.ndarray = self._session.run([output], dict(inputs))[0]
        return found

    def digest(self) -> str:
        """Hash of the graph and of what executes it."""
        words = f"{onnxruntime.__version__} {self.provider}"
        return hashlib.sha256(self.content + words.encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, (self.content, self.providers)
