"""Products of EnMAP, PRISMA, EMIT and AVIRIS that are damaged, or of a level that is not read."""

from __future__ import annotations

import h5py
import numpy as np

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, emit, enmap, envi, prisma, tanager

enmap_case, prisma_case = heading("EnMAP"), heading("PRISMA")
emit_case, aviris_case = heading("EMIT"), heading("AVIRIS")
NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


def product(w: World, change=lambda text: text, **how):
    """An EnMAP folder whose metadata is changed."""
    metadata = enmap(w / "enmap", cube(), centres=NM, **how)
    metadata.write_text(change(metadata.read_text()))
    return metadata


@enmap_case("no spectral image", "has no spectral image beside it")
def _(w: World):
    metadata = product(w)
    next(metadata.parent.glob("*SPECTRAL_IMAGE.TIF")).unlink()
    return w.train(metadata)


def swath(w: World, change=None, level: str = "L2D"):
    """A PRISMA file that is changed through h5py."""
    vnir, swir = cube(bands=3, dtype="uint16"), cube(bands=3, dtype="uint16")
    path = prisma(w / "prisma.he5", vnir, swir, vnir_nm=NM[2::-1], swir_nm=NM[:2:-1], level=level)
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    return path


FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"


@prisma_case("cut short", "prisma.he5")
def _(w: World):
    return w.train(w.cut(swath(w)))


@prisma_case("one detector's cube is missing", "SWIR_Cube")
def _(w: World):
    def change(file):
        del file[f"{FIELDS}/SWIR_Cube"]

    return w.train(swath(w, change))


@prisma_case("the cubes differ in size", "prisma.he5", "VNIR")
def _(w: World):
    def change(file):
        del file[f"{FIELDS}/SWIR_Cube"]
        file[f"{FIELDS}/SWIR_Cube"] = np.ones((9, 3, 9), np.uint16)

    return w.train(swath(w, change))


@prisma_case("a level without a cube", "processing level", "L2D", "got L3")
def _(w: World):
    return w.train(swath(w, level="L3"))


@prisma_case("flags that name no band", "name no band")
def _(w: World):
    def change(file):
        for name in ("Vnir", "Swir"):
            file.attrs[f"List_Cw_{name}_Flags"] = np.zeros(3, np.uint8)

    return w.train(swath(w, change))


def granule(w: World, change=None):
    """An EMIT file that is changed through h5py."""
    x, y = np.meshgrid(np.arange(1, 6), np.arange(1, 8))
    path = emit(w / "emit.nc", cube(dtype="float32"), x, y, centres=NM)
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    return path


@emit_case("cut short", "emit.nc")
def _(w: World):
    return w.train(w.cut(granule(w)))


@emit_case("a flat table instead of a cube", "emit.nc:reflectance", "3 dimensions")
def _(w: World):
    def change(file):
        del file["reflectance"]
        file["reflectance"] = np.ones((7, 6), np.float32)

    return w.train(granule(w, change))


@aviris_case("the orthocorrected image without its header", "needs its header")
def _(w: World):
    path = envi(w / "ang20260101t000000_rfl_v2.img", cube())
    path.with_suffix(".hdr").unlink()
    return w.train(path)


@aviris_case("the image is half downloaded", "shorter than its header says")
def _(w: World):
    return w.train(w.cut(envi(w / "ang20260101t000000_rfl_v2.img", cube(), interleave="bil")))


@aviris_case("AVIRIS-3 without reflectance", "AV3.nc")
def _(w: World):
    with h5py.File(w / "AV3.nc", "w") as file:
        file["reflectance/wavelength"] = NM
        file["reflectance/uncertainty"] = np.ones(6)
    return w.train(w / "AV3.nc")


@heading("Tanager")("a flat table instead of a cube", "surface_reflectance", "3 dimensions")
def _(w: World):
    path = tanager(w / "tanager.h5", cube(dtype="float32"), centres=NM)
    with h5py.File(path, "r+") as file:
        fields = file["HDFEOS/GRIDS/HYP/Data Fields"]
        del fields["surface_reflectance"]
        fields["surface_reflectance"] = np.ones((7, 6), np.float32)
    return w.train(path)


@heading("NEON")("whole numbers of radiance alone", "without their decimals")
def _(w: World):
    with h5py.File(w / "neon.h5", "w") as file:
        file["SITE/Radiance/RadianceIntegerPart"] = cube()
    return w.train(w / "neon.h5")
