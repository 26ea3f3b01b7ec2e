"""Files of any format to the pieces of a scene: the format is told by the content, not the name."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Scene, default_rgb
from hyperpeft.scenes.cubes.band_values import check_scaling
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.layouts import north_up
from hyperpeft.scenes.cubes.scan import load_scan, save_scan
from hyperpeft.scenes.cubes.valid_pixels import check_pixels, check_size, look_when_asked
from hyperpeft.scenes.readers.band_stack import stack
from hyperpeft.scenes.readers.detect import Probe, check_file, is_archive
from hyperpeft.scenes.readers.gdal import silence_gdal
from hyperpeft.scenes.readers.mosaic import join, tile_paths
from hyperpeft.scenes.readers.remote.address import Address, is_address
from hyperpeft.scenes.readers.remote.raster import read_remote_raster
from hyperpeft.scenes.readers.stores import split_spec
from hyperpeft.scenes.readers.table import identify, reader_of
from hyperpeft.system.files import printable, sha256_of

_HAVE_A_PLACE = ("raster", "zarr", "netcdf", "neon")  # kinds of files that mostly say it
_SAMPLE = 64  # rows and columns
_LARGE_FILE = 2**30  # bytes, some seconds of hashing


def read_cube(
    path: str | Path,
    key: str | Sequence[str] | None = None,
    layout: str | None = None,
    *,
    name: str | None = None,
    rgb: tuple[int, int, int] | None = None,
) -> Scene:
    """Read one file, product or mosaic as a scene without labels.

    Cubes stay on disk and are read by windows, but for MATLAB v5, .npz and matrices of pixels,
    which are read whole. Every pixel is looked at once to find the invalid ones.

    Parameters
    ----------
    path : str or Path
        MATLAB (v4, v5, v7.3), HDF5, .npy, .npz, GeoTIFF, ENVI (header or data file) or another
        raster, Zarr, NetCDF, or a product of EnMAP (folder, METADATA.XML or image), PRISMA or
        EMIT; or an https:// or s3:// address, see `readers.remote.address`. FILE:KEY chooses a
        variable where the file has several. A folder of rasters, a pattern such as "tiles/*.tif"
        and a list "a.tif,b.tif" are tiles of one mosaic.
    key : str, sequence of str or None
        The variable, as in FILE:KEY; a sequence holds accepted names.
    layout : str or None
        Axes of an array file, see `hyperpeft.scenes.cubes.layouts`; rasters know their own. By
        default "h w b", and a last axis longer than both others is only noted; where the file
        holds wavelengths, as many as another axis is long and no other, that axis is the bands.
    name : str or None
        The scene's name; the file's stem unless given.
    rgb : (int, int, int) or None
        Bands of the false-colour image; chosen by wavelength unless given.

    Returns
    -------
    Scene

    Raises
    ------
    SceneError
        Missing, empty, damaged, ambiguous or not a cube; tiles that do not fit each other.
    ConfigError
        An unknown layout, or one for a raster.
    """
    if is_address(path):
        with silence_gdal():
            cube = _read_address(str(path), layout)
            return _to_scene(cube, name or printable(Address.of(str(path)).stem), rgb)
    file, chosen = split_spec(path)
    probe = identify(check_file(file, SceneError)) if file.exists() else None
    if probe is None or (probe.is_folder and probe.kind == "raster"):
        tiles = tile_paths(str(path)) or []
        if len(tiles) > 1:
            title = name or printable(_mosaic_name(str(path), tiles))
            return _read_several(str(path), tiles, key, layout, title, rgb)
        file, chosen = split_spec(tiles[0]) if tiles else (file, chosen)
        probe = identify(check_file(file, SceneError))
    with silence_gdal():
        cube = _read(probe, chosen if chosen is not None else key, layout)
        return _to_scene(cube, name or printable(file.stem), rgb)


def read_unchecked(
    path: str | Path, key: str | Sequence[str] | None = None, layout: str | None = None
) -> Cube | None:
    """What a file says of its cube, with its bad bands; no pixel has been looked at.

    None for tiles and other files that make one image only together.

    Raises
    ------
    SceneError, ConfigError
        As `read_cube`.
    """
    file, chosen = split_spec(path)
    probe = identify(check_file(file, SceneError)) if file.exists() else None
    if probe is None or (probe.is_folder and probe.kind == "raster"):
        return None
    with silence_gdal():
        return _whole(probe, chosen if chosen is not None else key, layout)


def _read_several(
    spec: str,
    files: list[Path],
    key: str | Sequence[str] | None,
    layout: str | None,
    name: str,
    rgb: tuple[int, int, int] | None,
) -> Scene:
    """Files as the bands of one image, or as tiles of a mosaic."""
    cubes = []
    with silence_gdal():
        for tile in files:
            file, chosen = split_spec(tile)
            probe = identify(check_file(file, SceneError))
            cubes.append(_read(probe, chosen if chosen is not None else key, layout))
        whole = stack(cubes, spec)
        if whole is not None:
            return _to_scene(whole, name, rgb)
        stems = [printable(split_spec(file)[0].stem) for file in files]
        scenes = [_to_scene(c, stem, rgb) for c, stem in zip(cubes, stems, strict=True)]
    return join(scenes, name, rgb)


def _held(probe: Probe) -> str:
    """The first names in a zip archive, for a message."""
    try:
        with zipfile.ZipFile(probe.path) as archive:
            names = [printable(Path(name).name) for name in archive.namelist() if name[-1:] != "/"]
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" of {', '.join(names[:3])}{more}" if names else ""


def exists(spec: str) -> bool:
    """Whether a scene's path, FILE:KEY, pattern or list of tiles names something that is there.

    An address on a server is taken to be there: nobody asks before the scene is opened.
    """
    if is_address(spec):
        return True
    return split_spec(spec)[0].exists() or tile_paths(spec) is not None


def _mosaic_name(spec: str, tiles: list[Path]) -> str:
    return Path(spec).name if Path(spec).is_dir() else f"{tiles[0].stem}-mosaic"


def _read(probe: Probe, key: str | Sequence[str] | None, layout: str | None) -> Cube:
    """One file by the reader of its kind, north up and without bad bands."""
    return _whole(probe, key, layout).drop_bad()


def _whole(probe: Probe, key: str | Sequence[str] | None, layout: str | None) -> Cube:
    """One file by the reader of its kind, north up, with its bad bands.

    An array that is named in HDF5 is read as it is stored.
    """
    if probe.kind == "raster" and is_archive(probe):
        raise SceneError(
            f"{probe.path} is an archive{_held(probe)}", hint="unpack it, and give the folder"
        )
    reader = reader_of(probe.kind)
    if isinstance(key, str) and not reader.takes_key and probe.is_hdf5:
        reader = reader_of("arrays")
    return _finished(reader.read(probe, key, layout), reader.kind in _HAVE_A_PLACE)


def _read_address(spec: str, layout: str | None) -> Cube:
    """The cube of a GeoTIFF or a Zarr store on a server, north up and without bad bands."""
    address = Address.of(spec)
    if not address.is_zarr and layout is not None:
        raise ConfigError(f"layout {layout!r}: {address} knows its own axes")
    if address.is_zarr:
        from hyperpeft.scenes.readers.remote.store import read_remote_store  # its packages: extras

        return _finished(read_remote_store(address, layout), has_place=True).drop_bad()
    return _finished(read_remote_raster(address), has_place=True).drop_bad()


def _finished(cube: Cube, has_place: bool) -> Cube:
    """A cube north up, with a note on a missing place."""
    cube = north_up(cube)
    said = any("georeference" in note or "grid" in note for note in cube.notes)
    if cube.transform is None and has_place and not said:
        note = "the file has no georeference that is used: maps of the scene have none"
        cube = replace(cube, notes=(*cube.notes, note))
    elif cube.transform is not None and cube.crs is None and has_place:
        note = "the file names no CRS: maps of the scene have none"
        cube = replace(cube, notes=(*cube.notes, note))
    check_scaling(cube)
    return cube


def _to_scene(cube: Cube, name: str, rgb: tuple[int, int, int] | None) -> Scene:
    check_size(f"{cube.path}", cube.data.shape[1:])
    valid: Any
    if cube.identity:
        cube, valid = look_when_asked(cube, _middle(cube))
    else:
        cube, valid = check_pixels(cube)
    data = cube.scaled()
    data.encoding["preferred_chunks"] = {
        axis: min(n, size) for axis, n, size in zip("yx", cube.block, valid.shape, strict=True)
    }
    bands = data.shape[0]
    return Scene(
        name=name,
        cube=data,
        valid=valid,
        wavelengths=cube.wavelengths,
        crs=cube.crs,
        transform=cube.transform,
        rgb=rgb or default_rgb(bands, cube.wavelengths),
        sha256=_hash_of(cube),
        notes=cube.notes,
        fwhm=cube.fwhm,
        part=cube.key,
        flipped=cube.flipped,
    )


def _middle(cube: Cube) -> tuple[slice, slice]:
    """A small window inside one block in the middle of a cube."""
    where = []
    for size, block in zip(cube.data.shape[1:], cube.block, strict=True):
        start = size // 2 // block * block
        where.append(slice(start, min(start + min(block, _SAMPLE), size)))
    return where[0], where[1]


def _hash_of(cube: Cube) -> str:
    """Of the file, or of all the files that decide the values; of a server, what it says."""
    if cube.identity:
        return cube.identity
    digests = [_hash(path) for path in (cube.path, *cube.others)]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _hash(path: Path) -> str:
    """Of a file's bytes; of a folder, of the names and bytes of its files."""
    if not path.is_dir():
        if path.stat().st_size < _LARGE_FILE:
            return sha256_of(path)
        kept = load_scan(path, {"hash": "sha256"})
        found = sha256_of(path) if kept is None else str(kept["sha256"])
        save_scan(path, {"hash": "sha256"}, {"sha256": np.array(found)})
        return found
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()
