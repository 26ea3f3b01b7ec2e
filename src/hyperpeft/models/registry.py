"""Backbones by name, and the files of their weights; torch is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hyperpeft.errors import DownloadError
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
    return _said(file_of(source, pretrained=pretrained), "image_size") or IMAGE_SIZE


def num_heads_of(source: str | Path, dim: int, depth: int) -> int:
    """Attention heads, where the user gives none.

    Those that the weights' file names, else those of the built-in encoder of this width and depth,
    else one for 64 of the width.
    """
    said = None if str(source) in SIZES else _said(file_of(source), "num_heads")
    alike = (size.num_heads for size in SIZES.values() if (size.dim, size.depth) == (dim, depth))
    return said or next(alike, dim // 64)


def _said(path: Path | None, name: str) -> int | None:
    """A number in the metadata of a safetensors file."""
    if path is None or path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return whole_number((file.metadata() or {}).get(name, ""))
    except SafetensorError:
        return None  # reading the tensors reports what is wrong


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
    from hyperpeft.system import downloads  # loads a web client

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
