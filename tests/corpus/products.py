"""Products of EnMAP, PRISMA, EMIT and AVIRIS that are damaged, or of a level that is not read."""

from __future__ import annotations

import h5py
import numpy as np

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, emit, enmap, envi, prisma

enmap_case, prisma_case = heading("EnMAP"), heading("PRISMA")
emit_case, aviris_case = heading("EMIT"), heading("AVIRIS")
NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


def product(w: World, change=lambda text: text, **how):
    """An EnMAP folder whose metadata is changed."""
    metadata = enmap(w / "enmap", cube(), centres=NM, **how)
    metadata.write_text(change(metadata.read_text()))
    return metadata


@enmap_case("metadata cut short", "METADATA.XML cannot be read as XML")
def _(w: World):
    return w.train(product(w, lambda text: text[:500]).parent)


@enmap_case("metadata of another mission", "describes no EnMAP product")
def _(w: World):
    return w.train(product(w, lambda text: "<product><bands>6</bands></product>").parent)


@enmap_case("radiance, not reflectance", "processing level", "L2A", "L1C")
def _(w: World):
    return w.train(product(w, level="L1C").parent)


@enmap_case("no spectral image", "has no spectral image beside it")
def _(w: World):
    metadata = product(w)
    next(metadata.parent.glob("*SPECTRAL_IMAGE.TIF")).unlink()
    return w.train(metadata)


@enmap_case("the image of another scene", "does not belong to", "expected 5 bands", "got 6")
def _(w: World):
    return w.train(product(w, lambda t: t.replace('<bandID number="6"', '<band number="6"', 1)
                           .replace("</bandID></bandCharacterisation>",
                                    "</band></bandCharacterisation>")).parent)  # fmt: skip


@enmap_case("text for the gain of a band", "the band table is incomplete")
def _(w: World):
    return w.train(product(w, lambda t: t.replace("<GainOfBand>0.0001", "<GainOfBand>n/a")).parent)


@enmap_case("text for the number of a band", "METADATA.XML", "number")
def _(w: World):
    return w.train(product(w, lambda t: t.replace('bandID number="3"', 'bandID number="c"')).parent)


@enmap_case("a cloud mask of another size", "QL_QUALITY_CLOUD.TIF", "(7, 5)")
def _(w: World):
    return w.train(product(w, clouds=np.zeros((3, 3), bool)).parent)


@enmap_case("metadata with entities that grow without bound", "cannot be read as XML")
def _(w: World):
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    head = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "0123456789">{levels}]>'
    return w.train(product(w, lambda text: f"{head}<level_X>&e11;</level_X>").parent)


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


@prisma_case("level L1", "prisma.he5", "L2D")
def _(w: World):
    return w.train(swath(w, level="L1"))


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


@prisma_case("no wavelengths", "prisma.he5 has no attribute List_Cw_Vnir")
def _(w: World):
    return w.train(swath(w, lambda file: file.attrs.__delitem__("List_Cw_Vnir")))


@prisma_case("corners that fit no axes", "pixels of 30 m do not fill the product's corners")
def _(w: World):
    return w.train(swath(w, lambda file: file.attrs.__setitem__("Product_LRcorner_easting", 1.0)))


@prisma_case("an unknown EPSG code", "Epsg_Code 1 is unknown")
def _(w: World):
    return w.train(swath(w, lambda file: file.attrs.__setitem__("Epsg_Code", np.uint32(1))))


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


@emit_case("the look-up table points outside", "the look-up table points outside the cube")
def _(w: World):
    return w.train(granule(w, lambda file: file["location/glt_x"].__setitem__((0, 0), 999)))


@emit_case("two halves of the look-up table differ", "glt_x and glt_y")
def _(w: World):
    def change(file):
        del file["location/glt_x"]
        file["location/glt_x"] = np.ones((2, 2), np.int32)

    return w.train(granule(w, change))


@emit_case("no place on the map", "emit.nc", "geotransform")
def _(w: World):
    return w.train(granule(w, lambda file: file.attrs.__delitem__("geotransform")))


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
