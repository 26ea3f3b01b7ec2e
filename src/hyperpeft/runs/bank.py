"""Many trained runs on one frozen backbone: switch in microseconds, mix them in one batch.

Use a bank when one process serves several runs of the same base model: a service with a map per
site, a comparison of seeds, an ensemble. Each run adds its adapter, head and reducer (0.2 MB on
`base`) where a `Bundle` of its own would add the whole encoder (340 MB). The price is that the
deltas are not merged: a prediction computes them beside the frozen weights, a few per cent of the
time. For one run, or a whole scene of one run, `load_run` merges and is the simpler choice.

    bank = AdapterBank.for_run("runs/salinas")
    bank.add("salinas", "runs/salinas")
    bank.add("pavia", "runs/pavia")
    bank["pavia"].predict(scene)                         # a Bundle like any other
    bank.switch("salinas")
    bank.predict(windows)                                # (N, K) logits
    bank.predict_mixed(windows, ["pavia", "salinas"])    # one encoder pass, a row each

A bank belongs to one thread: which adapter is in force is its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperpeft import adapters
from hyperpeft.adapters import Adapter, check_bare, replace_module
from hyperpeft.errors import BundleError
from hyperpeft.models import num_heads_of, weights_sha256
from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.models.windows import centres_of, resize
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.config import AUTO
from hyperpeft.runs.file_names import ADAPTER, RUN
from hyperpeft.runs.methods.baseline_files import check_parts, check_usable
from hyperpeft.runs.record import RunRecord, method_of_backbone, sees_centre, windows_of
from hyperpeft.runs.weight_files import check_base, load_base, with_head
from hyperpeft.training.classifier import Classifier

Groups = tuple[tuple[str, slice], ...]  # name of a run, rows of the batch that are its


class _Route:
    """Which rows of a batch take which run's adapters: read by every layer, set in one place."""

    def __init__(self) -> None:
        self.groups: Groups = ()

    @contextmanager
    def take(self, groups: Groups) -> Iterator[None]:
        before, self.groups = self.groups, groups
        try:
            yield
        finally:
            self.groups = before


class _SharedLinear(nn.Linear):
    """A frozen layer to whose output each group of rows gets the delta of its own adapter."""

    def __init__(self, linear: nn.Linear, route: _Route) -> None:
        super().__init__(1, 1, bias=False, device="meta")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias  # the same storage
        self.route = route
        # A plain dictionary: the encoder keeps its official state dictionary.
        self.adapters: dict[str, Adapter] = {}

    def forward(self, x: Tensor) -> Tensor:  # (N, L, in) -> (N, L, out)
        y = F.linear(x, self.weight, self.bias)
        for name, rows in self.route.groups:
            adapter = self.adapters.get(name)
            if adapter is not None:
                y[rows] += adapter.delta(x[rows])
        return y


class _Member(Classifier):
    """A run's classifier on the shared encoder: it predicts with its own adapters, always."""

    def __init__(
        self,
        encoder: SpectralGPT,
        classes: int,
        name: str,
        route: _Route,
        *,
        centre: bool,
        windows: Sequence[int] = (),
    ) -> None:
        super().__init__(encoder, classes, centre=centre, windows=windows)
        self.name, self.route = name, route

    def forward(
        self,
        x: Tensor,
        entering: int | None = None,
        centres: Tensor | None = None,
        window: int | None = None,
    ) -> Tensor:
        with self.route.take(((self.name, slice(None)),)):
            return super().forward(x, entering, centres, window)

    def forward_to(self, windows: Tensor, block: int) -> Tensor:
        with self.route.take(((self.name, slice(None)),)):
            return super().forward_to(windows, block)


class AdapterBank:
    """Trained runs by name on one encoder.

    Parameters
    ----------
    encoder : SpectralGPT
        The base model, without adapters. The bank takes it over: it is frozen, and its adapted
        layers are replaced by shared ones with the same parameters.

    Raises
    ------
    AdapterError
        When the encoder has adapters.
    """

    def __init__(self, encoder: SpectralGPT) -> None:
        check_bare(encoder)
        self.encoder = encoder.requires_grad_(False).eval()
        self._sha256 = weights_sha256(encoder.state_dict())
        self._route = _Route()
        self._members: dict[str, tuple[_Member, Bundle]] = {}
        self._active: str | None = None

    @classmethod
    def for_run(cls, folder: str | Path, *, backbone: str | Path | None = None) -> AdapterBank:
        """An empty bank on the base model that a run was trained on.

        Parameters
        ----------
        folder : str or Path
            A run folder; the run itself is not added.
        backbone : str or Path, optional
            Where the base model is now, if it was a file that has moved.
        """
        record = RunRecord.from_file(Path(folder) / RUN)
        check_usable(Path(folder), record)
        encoder = load_base(Path(folder), record, backbone)
        return cls(encoder.to("cuda" if torch.cuda.is_available() else "cpu"))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __getitem__(self, name: str) -> Bundle:
        return self._member(name)[1]

    @property
    def active(self) -> str | None:
        """Name of the run that `predict` uses."""
        return self._active

    @property
    def nbytes(self) -> int:
        """Bytes of all adapters and heads: what the runs add to the encoder."""
        heads = [p for member, _ in self._members.values() for p in member.head_state().values()]
        deltas = [
            parameter
            for layer in self.encoder.modules()
            if isinstance(layer, _SharedLinear)
            for adapter in layer.adapters.values()
            for _, parameter in adapter.own_parameters()
        ]
        return sum(tensor.nbytes for tensor in [*heads, *deltas])

    def add(self, name: str, folder: str | Path) -> Bundle:
        """Read a run folder into the bank; the first one becomes the active one.

        Parameters
        ----------
        name : str
            Any name that is not taken.
        folder : str or Path
            What `hyperpeft train --out` wrote, with any adapter method or `probe`.

        Returns
        -------
        Bundle
            Predicts as the one from `load_run`, on the shared encoder.

        Raises
        ------
        BundleError
            When the run was trained on another base model, on the same one set up otherwise
            (image size, stride, heads), or fine-tuned the encoder itself, or its folder holds files
            of another run.
        AdapterError
            When its adapter cannot be used.
        """
        folder = Path(folder)
        if name in self._members:
            raise BundleError(f"name {name!r} in this bank", expected="a new one", got="one taken")
        record = RunRecord.from_file(folder / RUN)
        check_usable(folder, record)
        self._check_setup(folder, record)  # other positions of tokens are other weights too
        check_base(folder, record, self._sha256, "the one of this bank")
        method = adapters.get_method(method_of_backbone(record))
        if method.trains_encoder:
            raise BundleError(
                f"{folder} fine-tuned the whole encoder: it has no adapter to share one with",
                hint="use load_run for it",
            )
        device = self.encoder.pos_embed_spatial.device
        classes, centre = len(record.adapter["class_ids"]), sees_centre(record)
        member = _Member(
            self.encoder, classes, name, self._route, centre=centre, windows=windows_of(record)
        )
        bundle = with_head(folder, record, member.to(device))
        check_parts(folder, record)
        if method.adapter is not None:
            _, found = adapters.restore(self.encoder, folder / ADAPTER)
            for layer, adapter in found.items():
                self._shared(layer).adapters[name] = adapter.requires_grad_(False).eval()
        self._members[name] = (member, bundle)
        if self._active is None:
            self.switch(name)
        return bundle

    def remove(self, name: str) -> None:
        """Forget a run."""
        self._member(name)
        del self._members[name]
        for layer in self.encoder.modules():
            if isinstance(layer, _SharedLinear):
                layer.adapters.pop(name, None)
        if self._active == name:
            self._active, self._route.groups = None, ()

    def switch(self, name: str) -> Bundle:
        """Make a run the active one: two pointers change, whatever the size of the model."""
        bundle = self._member(name)[1]
        self._active, self._route.groups = name, ((name, slice(None)),)
        return bundle

    @torch.inference_mode()
    def predict(self, windows: Tensor) -> Tensor:
        """Logits of the active run.

        Parameters
        ----------
        windows : Tensor, shape (N, 12, p, p)
            Reduced by that run's own reducer: `bank[name].reducer`.

        Returns
        -------
        Tensor, shape (N, K)

        Raises
        ------
        BundleError
            No run is active, the windows are of another size than the run's, or the run averages
            several predictions: `bank[name].predict` gives them all.
        """
        if self._active is None:
            raise BundleError("this bank has no active run", hint="add one, or switch to one")
        self._check_window(self._active, windows.shape[-1], "give windows of its own size")
        return self._member(self._active)[0](windows)

    @torch.inference_mode()
    def predict_mixed(
        self, windows: Tensor, names: Sequence[str], centres: Tensor | None = None
    ) -> list[Tensor]:
        """Logits of a batch whose rows belong to different runs, in one pass of the encoder.

        Parameters
        ----------
        windows : Tensor, shape (N, 12, p, p)
            Each reduced by its own run's reducer. Runs with other window sizes mix after
            `hyperpeft.models.windows.resize`, with `centres`; without them they are refused.
        names : sequence of N str
            The run of each row, in any order.
        centres : Tensor, shape (N, 12), optional
            The centre pixels, for windows that were resized; by default those of `windows`.

        Returns
        -------
        list of N Tensor, each of shape (K,)
            K is the number of classes of that row's run; `bank[name].class_ids` names them.

        Raises
        ------
        BundleError
            A name that is not in the bank, windows of another size than a run's, or a run that
            averages several predictions.

        Notes
        -----
        Rows are sorted by run, so that the frozen products see the whole batch and each small
        delta a contiguous slice.
        """
        if len(names) != len(windows):
            raise BundleError("names of a mixed batch", expected=len(windows), got=len(names))
        if not names:
            return []
        order = sorted(range(len(names)), key=lambda row: names[row])
        groups: list[tuple[str, slice]] = []
        for name in sorted(set(names)):
            start = groups[-1][1].stop if groups else 0
            groups.append((name, slice(start, start + sum(n == name for n in names))))
        members = {name: self._member(name)[0] for name, _ in groups}
        window = windows.shape[-1]
        hint = (
            "bring them to one size with hyperpeft.models.windows.resize and give the centre "
            "pixels of the original windows as `centres`, or predict the runs one by one"
        )
        for name in members:
            self._check_window(name, window, hint, resized=centres is not None)
        middle = (centres_of(windows) if centres is None else centres)[order]
        with self._route.take(tuple(groups)):
            images = resize(windows[order], self.encoder.image_size)
            tokens = self.encoder(images)  # (N, L, D)
        rows = [
            row
            for name, where in groups
            for row in members[name].from_tokens(tokens[where], middle[where], window)
        ]
        back = {row: place for place, row in enumerate(order)}
        return [rows[back[row]] for row in range(len(names))]

    def _check_window(self, name: str, window: int, hint: str, *, resized: bool = False) -> None:
        """Refuse windows that do not give a run's prediction; resized ones have their centres."""
        record = self[name].record
        sizes = windows_of(record)
        if len(sizes) > 1 or record.adapter["method"] == AUTO:
            raise BundleError(
                f"run {name!r} averages several predictions, and windows of one size give one",
                hint=f"predict scenes with bank[{name!r}].predict",
            )
        if window not in sizes and not resized:
            raise BundleError(
                f"windows of {window} x {window} pixels for run {name!r}",
                expected=f"windows of {sizes[0]}, as it was trained on",
                hint=hint,
            )

    def _member(self, name: str) -> tuple[_Member, Bundle]:
        if name not in self._members:
            known = ", ".join(self._members) or "none yet"
            raise BundleError("run of this bank", expected=f"one of: {known}", got=repr(name))
        return self._members[name]

    def _shared(self, name: str) -> _SharedLinear:
        """The shared layer of that name, put in the place of the plain one at first need."""
        layer = self.encoder.get_submodule(name)
        if not isinstance(layer, _SharedLinear):
            assert isinstance(layer, nn.Linear)
            layer = _SharedLinear(layer, self._route)
            replace_module(self.encoder, name, layer)
        return layer

    def _check_setup(self, folder: Path, record: RunRecord) -> None:
        """What the hash of the weights does not tell: how the encoder reads an image."""
        config, encoder = record.config, self.encoder
        heads = config["num_heads"] or num_heads_of(
            record.backbone["name"], encoder.dim, encoder.depth
        )
        trained = {
            "image_size": config["image_size"],
            "stride": config["stride"],
            "num_heads": heads,
        }
        own = {
            "image_size": encoder.image_size,
            "stride": encoder.patch_embed.stride,
            "num_heads": encoder.num_heads,
        }
        if trained != own:
            raise BundleError(
                f"the base model of {folder} is set up otherwise than this bank's",
                expected=own,
                got=trained,
                hint="make a bank for it with AdapterBank.for_run",
            )
