"""What `fuzz.py` opens: valid small inputs of every reader, and a function that opens one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Loaded here, so that each process that is forked from this one has them.
import h5netcdf  # noqa: F401
import h5py  # noqa: F401
import numpy as np
import pyogrio.raw
import rasterio.warp  # noqa: F401
import rioxarray  # noqa: F401
import scipy.io
import shapely
import torch
import zarr  # noqa: F401

from hyperpeft import adapters, splits
from hyperpeft.benchmark import grid
from hyperpeft.errors import InputError
from hyperpeft.models import image_size_of, load_backbone
from hyperpeft.pretraining.config import read_pretrain_config
from hyperpeft.report import write_report
from hyperpeft.runs import config, config_files
from hyperpeft.runs.experiment import run as train
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import open_scene, read_cube, read_labels
from hyperpeft.spectral import Reducer
from tests.helpers import scene_files as make_files
from tests.helpers import small

NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


class Target(NamedTuple):
    """Attributes: `make`, writes one valid input into each folder it is given; `open`."""

    make: tuple[Callable[[Path], object], ...]
    open: Callable[[Path], object]


def open_cube(path: Path) -> None:
    """As a scene, with a look at two windows of it."""
    scene = read_cube(path)
    bands, height, width = scene.cube.shape
    part = scene.cube.isel(y=slice(height // 2, None), x=slice(0, width // 2 + 1)).values
    assert part.shape == (bands, height - height // 2, width // 2 + 1)
    assert scene.cube.isel(band=[bands - 1]).values.shape == (1, height, width)
    assert scene.valid.shape == (height, width)
    assert scene.wavelengths is None or len(scene.wavelengths) == bands


def only(folder: Path, *patterns: str) -> Path:
    """The one input in a folder, whatever has become of its content."""
    return next(path for pattern in patterns for path in sorted(folder.glob(pattern)))


def cube_or_map(*patterns: str) -> Callable[[Path], None]:
    """Opens c.* as a cube, and m.* as a label map."""

    def open_it(folder: Path) -> None:
        path = only(folder, *patterns)
        if path.name.startswith("m"):
            read_labels(path)
        else:
            open_cube(path)

    return open_it


def ids() -> np.ndarray:
    return (np.arange(35).reshape(7, 5) % 4).astype(np.uint8)


def save_npz(path: Path, compressed: bool = False, **arrays: np.ndarray) -> None:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)


def labelled(folder: Path, zarr_format: int | None, **how: object) -> None:
    data = make_files.labelled_dataset(make_files.cube(), NM, **how)
    if zarr_format is None:
        data.to_netcdf(folder / "c.nc", engine="h5netcdf")
    else:
        data.to_zarr(folder / "c.zarr", zarr_format=zarr_format, consolidated=False)


def vectors(ending: str) -> Callable[[Path], None]:
    """Polygons on the scene of `open_vectors`, which lies beside them."""

    def make(folder: Path) -> None:
        x, y = make_files.ORIGIN.c, make_files.ORIGIN.f
        boxes = [shapely.box(x + 30 * i, y - 60 - 30 * i, x + 30 * i + 60, y - 30 * i)
                 for i in range(3)]  # fmt: skip
        pyogrio.raw.write(
            folder / f"m{ending}", np.array([shapely.to_wkb(b) for b in boxes], object),
            [np.array(["a", "b", "a"], object), np.array([1, 2, 1])], ["name", "class"],
            crs=make_files.UTM, geometry_type="Polygon",
        )  # fmt: skip

    return make


def open_vectors(folder: Path) -> None:
    path = only(folder, "m.geojson", "m.gpkg", "m.shp", "m.csv", "m.txt")
    with suppress(InputError):
        read_labels(path, scene=the_scene(), class_field="class", all_touched=True)
    read_labels(path, scene=the_scene())


_SCENE = []


def the_scene() -> object:
    """A scene of 7 x 5 pixels with a georeference; made once a process."""
    if not _SCENE:
        place = Path(os.environ["FUZZ_SCENE"])
        _SCENE.append(open_scene(make_files.geotiff(place, make_files.cube())))
    return _SCENE[0]


def table(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "m.csv").write_text(text)


ROIS = """; ENVI Output of ROIs (4.8)
; Number of ROIs: 2
; File Dimension: 5 x 7
; ROI name: grass
; ROI npts: 2
; ROI name: soil
; ROI npts: 1
;   ID    X    Y
     1    2    3
     2    4    4

     1    5    7
"""


def shipped(name: str) -> Callable[[Path], object]:
    """A configuration of the package, with a name that tells its kind."""
    source = Path("configs") / name if name.startswith("pretrain-") else None
    source = source or grid.SHIPPED / name
    kind = "p" if name.startswith("pretrain-") else "b"
    return lambda folder: (folder / f"{kind}.yaml").write_text(source.read_text())


RUN_YAML = """scene: demo
method: krona+
options: {scale: 1.0}
per_class: 10
patch_size: 9
epochs: 5
lr: 1.0e-4
lambda: 16
blocks: last 2
targets: [q, v]
map: false
seed: 3
out: runs/x
"""


def open_yaml(folder: Path) -> None:
    path = only(folder, "*.yaml")
    if path.name == "p.yaml":
        read_pretrain_config(path)
    elif path.name == "b.yaml":
        grid.expand(grid.read_bench(str(path), {}))
    else:
        config.resolve_defaults(config.make_config(config_files.read_config(path)))


def open_weights(folder: Path) -> None:
    path = only(folder, "e.*")
    load_backbone(path, image_size_of(path), small.HEADS)


def save_pth(nested: bool) -> Callable[[Path], None]:
    import argparse

    def make(folder: Path) -> None:
        state = small.encoder().state_dict()
        args = argparse.Namespace(lr=0.1, epochs=3)
        torch.save({"model": state, "args": args} if nested else state, folder / "e.pth")

    return make


def adapter(method: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model = small.encoder()
        adapters.attach(model, method)
        adapters.save(model, folder, "tiny")

    return make


def run_folder(method: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        place = Path(os.environ["FUZZ_SCENE"]).parent / "world"
        how = small.config(
            place, folder / method, method=method, epochs=1, map=False, image_size=8, per_class=3
        )
        train(how)
        for name in ("map.png", "confusion.png"):
            (folder / method / name).unlink(missing_ok=True)
        for path in list((folder / method).rglob("*")):
            if path.is_file():
                new = folder / path.relative_to(folder / method)
                new.parent.mkdir(exist_ok=True)
                path.rename(new)

    return make


def open_run(folder: Path) -> None:
    splits_error = None
    try:
        splits.load(folder / "split.npz")
    except Exception as error:
        splits_error = error
    loaded = load_run(folder)
    loaded.predict(small.planted())
    if splits_error is not None:
        raise splits_error


def open_record(folder: Path) -> None:
    """`run.json` alone, and a report on it."""
    RunRecord.from_file(folder / "run.json")
    write_report(folder, folder / "report")


def record_alone(method: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        run_folder(method)(folder)
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.name != "run.json":
                path.unlink() if path.is_file() else path.rmdir()

    return make


def split_and_reducer(folder: Path) -> None:
    run_folder("probe")(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name not in ("split.npz", "reducer.safetensors"):
            path.unlink() if path.is_file() else path.rmdir()


def open_split_and_reducer(folder: Path) -> None:
    scene = small.planted()
    try:
        reducer = Reducer.from_file(folder / "reducer.safetensors")
        reducer.reduce(scene)
    finally:
        splits.load(folder / "split.npz", scene.labels)


def state(folder: Path) -> None:
    """A run that was cut off, with its checkpoint."""
    from hyperpeft.training import loop

    place = Path(os.environ["FUZZ_SCENE"]).parent / "world"
    loop.CHECKPOINT_SECONDS = 0.0

    class Stop(Exception):
        pass

    def stop(done: int, *_: object) -> None:
        if done > 1:
            raise Stop

    from hyperpeft.progress import Progress

    watch = Progress()
    watch.trained = stop  # type: ignore[method-assign]
    how = small.config(place, folder, **STATE)
    try:
        train(how, progress=watch)
    except Stop:
        return


STATE = {"method": "probe", "epochs": 2, "map": False, "image_size": 8, "per_class": 3}


def open_state(folder: Path) -> None:
    place = Path(os.environ["FUZZ_SCENE"]).parent / "world"
    train(small.config(place, folder, **STATE))


def glt() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((6, 5))
    return x + 1, y + 1


def make_prisma(folder: Path) -> None:
    cube = make_files.cube(bands=3, dtype="uint16")
    make_files.prisma(
        folder / "c.he5", cube, cube[..., :2],
        vnir_nm=np.array([700.0, 600.0, 0.0]), swir_nm=np.array([2000.0, 1500.0]),
    )  # fmt: skip


def make_emit(folder: Path) -> None:
    make_files.emit(folder / "c.nc", make_files.cube(), *glt(), centres=NM, good=NM < 1000)


def make_enmap(folder: Path) -> None:
    clouds = np.zeros((7, 5), bool)
    make_files.enmap(folder / "c", make_files.cube(), centres=NM, clouds=clouds)


def tif(folder: Path, name: str, array: np.ndarray, **how: object) -> None:
    make_files.geotiff(folder / name, array, **how)  # type: ignore[arg-type]


def mat(folder: Path, name: str, compress: bool, **arrays: object) -> None:
    scipy.io.savemat(folder / name, arrays, do_compression=compress)


C = make_files.cube
TARGETS: dict[str, Target] = {
    "mat5": Target(
        (
            lambda f: mat(f, "c.mat", False, x=C(), wavelengths=NM, s={"a": 1}),
            lambda f: mat(f, "c.mat", True, x=C(dtype="float64"), bbl=np.ones(6)),
            lambda f: mat(f, "m.mat", False, gt=ids()),
            lambda f: scipy.io.savemat(f / "m.mat", {"gt": ids(), "n": NM}, format="4"),
        ),
        cube_or_map("*.mat"),
    ),
    "mat73": Target(
        (
            lambda f: make_files.mat73(f / "c.mat", x=C(), wavelengths=NM),
            lambda f: make_files.mat73(f / "m.mat", gt=ids()),
        ),
        cube_or_map("*.mat"),
    ),
    "numpy": Target(
        (
            lambda f: np.save(f / "c.npy", C()),
            lambda f: np.save(f / "m.npy", ids()),
            lambda f: save_npz(f / "c.npz", x=C(), wavelengths=NM),
            lambda f: save_npz(f / "c.npz", True, x=C(dtype="float32"), lines=np.array(7)),
        ),
        cube_or_map("*.np[yz]"),
    ),
    "envi": Target(
        (
            lambda f: make_files.envi(
                f / "c.bsq", C(), wavelength="{450, 550, 650, 940, 1380, 2200}",
                wavelength_units="Nanometers", bbl="{1,1,1,0,1,1}", data_ignore_value="-9999",
                map_info="{UTM, 1, 1, 364000, 5810000, 30, 30, 33, North, WGS-84}",
            ),
            lambda f: make_files.envi(f / "c.bil", C(dtype="uint16"), interleave="bil", offset=3),
            lambda f: make_files.envi(
                f / "m.img", ids()[..., None], classes="4", class_names="{none, a, b, c}",
                class_lookup="{0,0,0, 1,2,3, 4,5,6, 7,8,9}",
            ),
        ),
        cube_or_map("*.hdr"),
    ),
    "geotiff": Target(
        (
            lambda f: tif(f, "c.tif", C(), nodata=-9999,
                          band_tags=[{"wavelength": str(n)} for n in NM]),
            lambda f: tif(f, "c.tif", C(dtype="float32"), tiled=True, blockxsize=16, blockysize=16,
                          compress="deflate", predictor=2, interleave="band"),
            lambda f: tif(f, "m.tif", ids(), nodata=0, colours={1: (1, 2, 3)},
                          tags={"CLASS_1": "a"}),
        ),
        cube_or_map("*.tif"),
    ),
    "enmap": Target((make_enmap,), lambda f: open_cube(f / "c")),
    "prisma": Target((make_prisma,), lambda f: open_cube(f / "c.he5")),
    "emit": Target((make_emit,), lambda f: open_cube(f / "c.nc")),
    "zarr": Target(
        (
            lambda f: labelled(f, 2, fill=-9999),
            lambda f: labelled(f, 3, scale=0.5, order=("bands", "y", "x")),
        ),
        lambda f: open_cube(f / "c.zarr"),
    ),
    "netcdf": Target(
        (
            lambda f: labelled(f, None, fill=-9999, southwards=False),
            lambda f: labelled(f, None, scale=0.5, order=("wavelength", "lat", "lon")),
        ),
        lambda f: open_cube(f / "c.nc"),
    ),
    "vectors": Target(
        (vectors(".geojson"), vectors(".gpkg"), vectors(".shp")), open_vectors
    ),
    "tables": Target(
        (
            table("x,y,class\n364010,5809990,1\n364040,5809950,2\n364100,5809900,2\n"),
            table("row;column;name\n1;2;grass\n3;4;soil\n6;0;grass\n"),
            lambda f: (f / "m.txt").write_text(ROIS),
        ),
        open_vectors,
    ),
    "yaml": Target(
        (
            lambda f: (f / "r.yaml").write_text(RUN_YAML),
            *map(shipped, ("offline.yaml", "paper.yaml", "ablation-rank.yaml")),
            shipped("pretrain-tiny.yaml"),
        ),
        open_yaml,
    ),
    "safetensors": Target((lambda f: small.checkpoint(f / "e.safetensors"),), open_weights),
    "pth": Target((save_pth(False), save_pth(True)), open_weights),
    "adapter": Target(
        (adapter("krona+"), adapter("lora"), adapter("lokr")),
        lambda f: adapters.load(small.encoder(), f),
    ),
    "run": Target((run_folder("krona+"), run_folder("full")), open_run),
    "record": Target((record_alone("probe"), record_alone("svm")), open_record),
    "split": Target((split_and_reducer,), open_split_and_reducer),
    "checkpoint": Target((state,), open_state),
}  # fmt: skip
