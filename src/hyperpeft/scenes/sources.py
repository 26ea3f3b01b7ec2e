"""The files that a scene or labels are read from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hyperpeft.errors import InputError
from hyperpeft.scenes.catalog.cards import CARDS, card_key
from hyperpeft.scenes.catalog.locate import find
from hyperpeft.scenes.readers.detect import Probe, metadata_of, stem_of
from hyperpeft.scenes.readers.envi_header import envi_data_file
from hyperpeft.scenes.readers.gdal import open_raster
from hyperpeft.scenes.readers.mosaic import tile_paths
from hyperpeft.scenes.readers.rasters import sources_of
from hyperpeft.scenes.readers.remote.address import is_address
from hyperpeft.scenes.readers.stores import split_spec
from hyperpeft.scenes.readers.table import identify

_SIDECARS = (".aux.xml", ".ovr", ".msk", ".legend.csv")  # of GDAL, and of pictures


def files_of(spec: str | Path) -> list[Path]:
    """The files behind a card's name, FILE[:KEY], a product or a list of tiles, as far as known.

    With those that belong to them: an ENVI cube's header, the sources of a VRT, the other files
    of an EnMAP product. Nothing for what is not there, or is not read from files.
    """
    text = str(spec)
    card = CARDS.get(card_key(text))
    if card is not None and not Path(text).is_file():
        return [path for path in map(find, card.files) if path is not None]
    if is_address(text):
        return []
    found: list[Path] = []
    with suppress(InputError, OSError):  # opening the scene reports what is wrong
        for path in tile_paths(text) or [split_spec(text)[0]]:
            if path.exists():
                found += _family(path)
    return list(dict.fromkeys(found))


def _family(path: Path) -> Iterator[Path]:
    yield path
    metadata = metadata_of(path)
    if metadata is not None:
        stem = stem_of(metadata).upper()
        yield from (p for p in metadata.parent.iterdir() if p.name.upper().startswith(stem))
    if path.is_dir() or identify(Probe.of(path)).kind not in ("raster", "enmap", "desis"):
        return
    files = [path]
    with suppress(InputError, OSError):
        data = envi_data_file(path)
        with open_raster(data) as dataset:
            files += map(Path, dataset.files)
            files += sources_of(data, dataset)
    yield from files
    yield path.with_suffix(".legend.csv")
    yield from (file.with_name(file.name + ending) for file in files for ending in _SIDECARS)
