"""What is trained and predicts: encoder, average pooling of tokens, LayerNorm, linear head.

The head may also see the centre pixel's 12 components. Pooling mixes a window's pixels, and where
pixels are as large as what they show, the pixel's own spectrum says most. A classifier of several
windows has a head for each size, on one encoder; the logits of a pixel are the mean over its
windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperpeft.errors import NotFiniteError
from hyperpeft.models.spectralgpt import BANDS, SpectralGPT
from hyperpeft.models.windows import Windows, centres_of, resize
from hyperpeft.training.batches import Batches
from hyperpeft.training.precision import autocast
from hyperpeft.training.ridge import STRENGTH, Ridge, ridge

# Of the centre's components beside the pooled tokens, both of unit variance: twelve numbers
# against hundreds, so that a step of the optimiser moves their say about equally.
CENTRE_WEIGHT = 4.0


class WindowHeads(nn.ModuleDict):
    """A linear head for each size of window.

    Parameters
    ----------
    sizes : sequence of int
    features, classes : int
    """

    def __init__(self, sizes: Sequence[int], features: int, classes: int) -> None:
        super().__init__({str(size): nn.Linear(features, classes) for size in sizes})
        self.out_features = classes


class Classifier(nn.Module):
    """Logits of K classes for a batch of windows.

    Parameters
    ----------
    encoder : SpectralGPT
    classes : int
        K.
    seed : int
        Of the head's start: normal with deviation 0.02, zero bias.
    centre : bool
        Whether the head also sees the centre pixel's 12 components.
    windows : sequence of int
        Sizes of the windows that have a head of their own, two or more; otherwise one head serves
        windows of any size.
    """

    def __init__(
        self,
        encoder: SpectralGPT,
        classes: int,
        seed: int = 0,
        *,
        centre: bool = False,
        windows: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.encoder, self.centre, self.classes = encoder, centre, classes
        self.norm = nn.LayerNorm(encoder.dim)
        features = encoder.dim + (BANDS if centre else 0)
        self.head: nn.Linear | WindowHeads
        if len(windows) > 1:
            self.head = WindowHeads(windows, features, classes)
        else:
            self.head = nn.Linear(features, classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for head in self._heads():
                head.weight.normal_(0.0, 0.02, generator=generator)
                head.bias.zero_()

    def _heads(self) -> list[nn.Linear]:
        heads = self.head.values() if isinstance(self.head, WindowHeads) else [self.head]
        return [head for head in heads if isinstance(head, nn.Linear)]

    def head_of(self, window: int | None) -> nn.Module:
        """The head of windows of that size."""
        return self.head[str(window)] if isinstance(self.head, WindowHeads) else self.head

    def forward(
        self,
        x: Tensor,
        entering: int | None = None,
        centres: Tensor | None = None,
        window: int | None = None,
    ) -> Tensor:
        """Logits (N, K) of windows (N, 12, p, p).

        With `entering`, x is the tokens (N, L, D) that enter that block, `centres` (N, 12) the
        centre pixels of their windows and `window` their size.
        """
        if entering is None:
            window = x.shape[-1]
            x, entering, centres = self.forward_to(x, 0), 0, centres_of(x)
        return self.from_tokens(self.encoder.forward_from(x, entering), centres, window)

    def forward_to(self, windows: Tensor, block: int) -> Tensor:
        """The tokens (N, L, D) that enter a block, for windows (N, 12, p, p)."""
        return self.encoder.forward_to(resize(windows, self.encoder.image_size), block)

    def from_tokens(
        self, tokens: Tensor, centres: Tensor | None = None, window: int | None = None
    ) -> Tensor:
        """Logits (N, K) from the encoder's output (N, L, D) and the centre pixels (N, 12)."""
        return self.head_of(window)(self.features(tokens, centres))

    def features(self, tokens: Tensor, centres: Tensor | None = None) -> Tensor:
        """What the linear head sees: (N, D), or (N, D + 12) with the centre pixels."""
        if not self.centre:
            return self.norm(tokens.mean(dim=1))
        assert centres is not None
        return head_features(tokens, centres, self.norm)

    @torch.no_grad()
    def features_of(self, windows: Windows, positions: Tensor, batch_size: int = 64) -> Tensor:
        """What the linear head sees of the pixels at positions (n, 2): (n, D or D + 12)."""
        device, was_training = self.norm.weight.device, self.training
        self.eval()

        def of(batch: Tensor) -> Tensor:
            found = windows.at(batch).to(device)
            tokens = self.encoder.forward_from(self.forward_to(found, 0), 0)
            return self.features(tokens.float(), centres_of(found))

        features = Batches(batch_size)(of, positions)
        self.train(was_training)
        return features

    def fit_head(
        self, features: Tensor, targets: Tensor, share: float = 0.5, strength: float = STRENGTH
    ) -> Ridge:
        """The ridge head on features (n, D or D + 12) of pixels with class indices (n,).

        Parameters
        ----------
        share : float
            Spread of the centre's components over that of the tokens, before the shrinkage: 0
            leaves the head to the tokens. Without sight of the centre it means nothing.
        strength : float
            Of the shrinkage, see `hyperpeft.training.ridge`.
        """
        scale = self.feature_scale(features, share)
        fitted = ridge(features * scale, targets, self.classes, strength)
        return fitted._replace(weight=fitted.weight * scale)

    def feature_scale(self, features: Tensor, share: float) -> Tensor:
        """What each feature (D or D + 12) is multiplied by before the shrinkage, see `fit_head`."""
        dim = self.encoder.dim
        scale = torch.ones(features.shape[1], dtype=features.dtype, device=features.device)
        if self.centre:
            spread = features.var(0, correction=0)
            scale[:dim] = (spread[:dim].sum() + 1e-12).rsqrt()
            scale[dim:] = share * (spread[dim:].sum() + 1e-12).rsqrt()
        return scale

    @torch.no_grad()
    def start_heads(self, fitted: Mapping[int, Ridge], factor: float) -> None:
        """Set the head of each window to a ridge solution, scaled by a factor to be logits."""
        for window, solution in fitted.items():
            head = self.head_of(window)
            assert isinstance(head, nn.Linear)
            head.weight.copy_(solution.weight * factor)
            head.bias.copy_(solution.bias * factor)

    def head_state(self) -> dict[str, Tensor]:
        """The head's tensors: norm and linear layer."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}


def head_features(tokens: Tensor, centres: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
    """Pooled and normalised tokens (N, L, D) beside weighted centres (N, 12): (N, D + 12)."""
    pooled = tokens.mean(dim=1)
    pooled = norm(pooled) if norm is not None else F.layer_norm(pooled, pooled.shape[-1:])
    return torch.cat([pooled, CENTRE_WEIGHT * centres.to(pooled.dtype)], dim=1)


def check_finite(logits: Tensor) -> None:
    """Refuse logits that are not finite: their largest would be a class all the same."""
    if not bool(logits.isfinite().all()):
        raise NotFiniteError(
            "the model gives values that are not finite",
            hint="lower the learning rate (lr, lam) and train again, or look for extreme values in "
            "the scene",
        )


WindowSet = Windows | Sequence[Windows]
"""Windows of one size, or of several over the same cube."""


def mean_logits(model: nn.Module, windows: WindowSet, positions: Tensor) -> Tensor:
    """Logits (n, K) float32 on the processor: the mean over the windows around each pixel."""
    device = next(model.parameters()).device
    several = (windows,) if isinstance(windows, Windows) else windows
    total = model(several[0].at(positions).to(device)).float()
    for one in several[1:]:
        total = total + model(one.at(positions).to(device)).float()
    return (total / len(several) if len(several) > 1 else total).cpu()


def predict(
    model: nn.Module,
    windows: WindowSet,
    positions: Tensor,
    *,
    precision: str = "fp32",
    batch_size: int = 64,
) -> Iterator[Tensor]:
    """Logits (n, K) float32 on the processor, batch by batch, for pixels (N, 2) row, column."""
    device = next(model.parameters()).device
    batches, was_training = Batches(batch_size), model.training
    model.eval()
    try:
        for batch in positions.split(batch_size):
            # Entered again for each batch: a generator must not leave its caller in inference mode.
            with torch.inference_mode(), autocast(device, precision):
                logits = batches(lambda part: mean_logits(model, windows, part), batch)
            yield logits
    finally:
        model.train(was_training)


def check_outputs(model: Classifier, windows: WindowSet, positions: Tensor, precision: str) -> None:
    """Refuse a model whose logits of these pixels (n, 2), in one batch, are not finite.

    Raises
    ------
    NotFiniteError
    """
    size = max(len(positions), 1)
    for logits in predict(model, windows, positions, precision=precision, batch_size=size):
        check_finite(logits)
