"""Backbones by name: built-in sizes, our own weights, the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hyperpeft.errors import DownloadError, WeightsError
from hyperpeft.models.checkpoint import read_checkpoint
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT, initialise
from hyperpeft.models.state_dict import encoder_from
from hyperpeft.system import downloads
from hyperpeft.system.files import cache_folder, data_folders, find_file, replacing
from hyperpeft.system.text import whole_number


@dataclass(frozen=True)
class Size:
    """Width, depth and heads of a built-in encoder."""

    dim: int
    depth: int
    num_heads: int


SIZES = {
    "tiny": Size(192, 6, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),
}

PUBLISHED = {  # name: file of Zenodo record 8412455
    "spectralgpt": "SpectralGPT.pth",
    "spectralgpt+": "SpectralGPT+.pth",
}
ZENODO = "https://zenodo.org/records/8412455"

# Weights of our own: those of `tiny` come with the package; others are looked for as
# hyperpeft-NAME.safetensors in the data folders and the cache.
SHIPPED = Path(__file__).parent / "shipped"
IMAGE_SIZE = 32  # what SpectralGPT's windows are resized to, where weights do not say otherwise


def load_backbone(
    source: str | Path,
    image_size: int = 32,
    num_heads: int | None = None,
    *,
    stride: int = PATCH,
    seed: int = 0,
    pretrained: bool = True,
) -> SpectralGPT:
    """Build an encoder from a built-in size, a published name or a checkpoint file.

    Parameters
    ----------
    source : str or Path
        "tiny" (pretrained weights that come with the package), "small", "base", "large", "huge"
        (a seeded initialisation, unless pretrained weights are found, see `own_weights`),
        "spectralgpt", "spectralgpt+" (published weights, downloaded once), or a .pth, .pt or
        .safetensors file.
    image_size : int, default 32
        Side in pixels of the images that the encoder will see; stored positions of another grid
        are interpolated bicubically. `image_size_of(source)` is what weights were trained at: 16
        for `tiny`.
    num_heads : int, optional
        Attention heads, which no checkpoint stores; defaults to width // 64.
    stride : int, default 8
        Pixels between tokens.
    seed : int, default 0
        Of the initialisation, for the built-in sizes.
    pretrained : bool, default True
        False starts a built-in size from its initialisation although weights are there.

    Returns
    -------
    SpectralGPT
        In evaluation mode: images (N, 12, S, S) to tokens (N, L, width). `model.pretrained` tells
        whether its weights were trained.

    Raises
    ------
    WeightsError
        Unknown name, unreadable file, or keys that do not match the architecture.
    """
    name = str(source)
    if name in SIZES:
        size = SIZES[name]
        own = own_weights(name) if pretrained else None
        if own is not None:
            heads = num_heads or size.num_heads
            model, _ = encoder_from(read_checkpoint(own), image_size, heads, stride, str(own))
            model.pretrained = True
            return model.eval()
        model = SpectralGPT(
            size.dim, size.depth, num_heads or size.num_heads, image_size=image_size, stride=stride
        )
        model.pretrained = False
        return initialise(model, seed).eval()
    if not pretrained:
        raise WeightsError(
            f"backbone {name!r} is trained weights and cannot start from scratch",
            expected=f"one of {', '.join(SIZES)}",
        )
    path = published_file(name) if name in PUBLISHED else Path(source)
    if not path.is_file():
        raise WeightsError(
            f"backbone {name!r}",
            expected=f"one of {', '.join([*SIZES, *PUBLISHED])} or a checkpoint file",
            got="no such name or file",
        )
    model, _ = encoder_from(read_checkpoint(path), image_size, num_heads, stride, str(path))
    model.pretrained = True
    return model.eval()


def own_weights(name: str) -> Path | None:
    """Our pretrained weights of a built-in size: in the package, a data folder or the cache."""
    shipped = SHIPPED / f"{name}.safetensors"
    return shipped if shipped.is_file() else find_file([f"hyperpeft-{name}.safetensors"])


def file_of(source: str | Path, *, pretrained: bool = True) -> Path | None:
    """The file that `load_backbone` would read, where it is here; None where it would read none."""
    name = str(source)
    if name in SIZES:
        return own_weights(name) if pretrained else None
    path = find_file([PUBLISHED[name]]) if name in PUBLISHED else Path(source)
    return path if path is not None and path.is_file() else None


def image_size_of(source: str | Path, *, pretrained: bool = True) -> int:
    """The image size that weights were trained at, where their file says so; 32 otherwise."""
    path = file_of(source, pretrained=pretrained)
    if path is None or path.suffix != ".safetensors":
        return IMAGE_SIZE
    try:
        with safe_open(path, framework="pt") as file:
            said = whole_number((file.metadata() or {}).get("image_size", ""))
    except SafetensorError:
        return IMAGE_SIZE  # reading the tensors reports what is wrong
    return IMAGE_SIZE if said is None else said


def published_file(name: str) -> Path:
    """The published checkpoint, from the data folders, the cache or its download.

    Raises
    ------
    DownloadError
        Saying which file to put where by hand.
    """
    file = PUBLISHED[name]
    found = find_file([file])
    if found is not None:
        return found
    url, target = f"{ZENODO}/files/{file}?download=1", cache_folder() / "weights" / file
    try:
        with replacing(target) as temporary:
            downloads.get(url, temporary)
            digest = downloads.check(temporary)
    except DownloadError as problem:
        raise DownloadError(
            f"{file} could not be fetched from {url} ({problem})",
            hint=f"put it into {data_folders()[0] / 'weights'}, or name a file with --backbone",
        ) from None
    downloads.remember(target, digest)
    return target


def describe() -> list[dict[str, object]]:
    """One row per backbone that can be named, for the command line."""
    rows: list[dict[str, object]] = [
        {
            "name": name,
            **vars(size),
            "weights": str(own_weights(name) or "seeded initialisation, not pretrained"),
        }
        for name, size in SIZES.items()
    ]
    for name, file in PUBLISHED.items():
        here = find_file([file])
        place = str(here) if here else f"not here: {ZENODO}/files/{file}"
        rows.append({"name": name, **vars(SIZES["base"]), "weights": place})
    return rows
