"""Scenes: benchmark cards, verified downloads, and readers of every format into a `Scene`.

The names are loaded on first use: listing the cards needs neither xarray nor GDAL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names
from hyperpeft.system.resources import stay_offline

if TYPE_CHECKING:
    from hyperpeft.scenes.catalog.card import Card, File
    from hyperpeft.scenes.catalog.cards import CARDS, get_card
    from hyperpeft.scenes.catalog.fetch import fetch
    from hyperpeft.scenes.catalog.locate import find, list_scenes
    from hyperpeft.scenes.cubes.band_values import rescale
    from hyperpeft.scenes.describe import FileDescription, describe_file
    from hyperpeft.scenes.ground_area import HECTARE, pixel_areas
    from hyperpeft.scenes.labels.class_names import class_names
    from hyperpeft.scenes.labels.class_values import match_names
    from hyperpeft.scenes.labels.read import LABEL_OPTIONS, labels_for, read_labels, read_shapes
    from hyperpeft.scenes.labels.vectors import (
        CLASSES,
        PIXELS,
        list_layers,
        read_class_table,
        read_layer,
        text_column,
        write_layer,
    )
    from hyperpeft.scenes.open import is_card, open_scene
    from hyperpeft.scenes.readers.gdal import crs_of, open_raster, transform_of
    from hyperpeft.scenes.readers.rasters import hidden_by_mask
    from hyperpeft.scenes.readers.read import exists, read_cube
    from hyperpeft.scenes.readers.table import Reader, register_reader
    from hyperpeft.scenes.scene_view import SceneView, open_view, read_thin
    from hyperpeft.scenes.sources import files_of
    from hyperpeft.scenes.synthetic.demo import demo_scene, planted_scene
    from hyperpeft.scenes.synthetic.ground import Draws
    from hyperpeft.scenes.synthetic.library import SpectralLibrary, library_files, read_library
    from hyperpeft.scenes.synthetic.random import random_scene
    from hyperpeft.scenes.synthetic.realistic import SceneGenerator, SceneRules

_MODULES = {
    "CARDS": "catalog.cards",
    "Card": "catalog.card",
    "Draws": "synthetic.ground",
    "File": "catalog.card",
    "FileDescription": "describe",
    "HECTARE": "ground_area",
    "LABEL_OPTIONS": "labels.read",
    "PIXELS": "labels.vectors",
    "Reader": "readers.table",
    "SceneGenerator": "synthetic.realistic",
    "SceneRules": "synthetic.realistic",
    "SceneView": "scene_view",
    "SpectralLibrary": "synthetic.library",
    "class_names": "labels.class_names",
    "crs_of": "readers.gdal",
    "demo_scene": "synthetic.demo",
    "describe_file": "describe",
    "exists": "readers.read",
    "fetch": "catalog.fetch",
    "files_of": "sources",
    "find": "catalog.locate",
    "get_card": "catalog.cards",
    "hidden_by_mask": "readers.rasters",
    "is_card": "open",
    "labels_for": "labels.read",
    "list_layers": "labels.vectors",
    "library_files": "synthetic.library",
    "list_scenes": "catalog.locate",
    "match_names": "labels.class_values",
    "open_raster": "readers.gdal",
    "open_scene": "open",
    "open_view": "scene_view",
    "pixel_areas": "ground_area",
    "planted_scene": "synthetic.demo",
    "random_scene": "synthetic.random",
    "read_cube": "readers.read",
    "read_labels": "labels.read",
    "CLASSES": "labels.vectors",
    "read_class_table": "labels.vectors",
    "read_layer": "labels.vectors",
    "read_library": "synthetic.library",
    "read_shapes": "labels.read",
    "read_thin": "scene_view",
    "register_reader": "readers.table",
    "rescale": "cubes.band_values",
    "text_column": "labels.vectors",
    "transform_of": "readers.gdal",
    "write_layer": "labels.vectors",
}

__all__ = [
    "CARDS",
    "CLASSES",
    "HECTARE",
    "LABEL_OPTIONS",
    "PIXELS",
    "Card",
    "Draws",
    "File",
    "FileDescription",
    "Reader",
    "SceneGenerator",
    "SceneRules",
    "SceneView",
    "SpectralLibrary",
    "class_names",
    "crs_of",
    "demo_scene",
    "describe_file",
    "exists",
    "fetch",
    "files_of",
    "find",
    "get_card",
    "hidden_by_mask",
    "is_card",
    "labels_for",
    "library_files",
    "list_layers",
    "list_scenes",
    "match_names",
    "open_raster",
    "open_scene",
    "open_view",
    "pixel_areas",
    "planted_scene",
    "random_scene",
    "read_class_table",
    "read_cube",
    "read_labels",
    "read_layer",
    "read_library",
    "read_shapes",
    "read_thin",
    "register_reader",
    "rescale",
    "text_column",
    "transform_of",
    "write_layer",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)

stay_offline()  # before any module of the package loads GDAL
