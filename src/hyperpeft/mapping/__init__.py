"""A trained model, its reducer and a scene: the class of every valid pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.mapping.classification import classify
    from hyperpeft.mapping.context_features import ContextFeatures, RandomPatchFeatures
    from hyperpeft.mapping.encoder_predictor import EncoderPredictor
    from hyperpeft.mapping.mapper import ClassMap, Layers, Mapper, TileMap
    from hyperpeft.mapping.outputs.geotiff import is_written_here, refuse_foreign
    from hyperpeft.mapping.outputs.polygons import (
        is_polygons,
        refuse_foreign_polygons,
        write_polygons,
    )
    from hyperpeft.mapping.pixel_features import (
        ComponentMeans,
        PixelFeatures,
        PixelPredictor,
        SpectraFeatures,
        features_at,
    )
    from hyperpeft.mapping.predictor import GraphPredictor, Predictor, WindowPredictor
    from hyperpeft.mapping.refinement import Refinement
    from hyperpeft.mapping.tiled import Mapped, Outputs, map_to_files, tiles_here
    from hyperpeft.mapping.tiles import SIZE, cell_of, plan

_MODULES = {
    "ClassMap": "mapper",
    "ComponentMeans": "pixel_features",
    "ContextFeatures": "context_features",
    "EncoderPredictor": "encoder_predictor",
    "GraphPredictor": "predictor",
    "Layers": "mapper",
    "Mapped": "tiled",
    "Mapper": "mapper",
    "Outputs": "tiled",
    "PixelFeatures": "pixel_features",
    "PixelPredictor": "pixel_features",
    "Predictor": "predictor",
    "Refinement": "refinement",
    "RandomPatchFeatures": "context_features",
    "SIZE": "tiles",
    "SpectraFeatures": "pixel_features",
    "TileMap": "mapper",
    "WindowPredictor": "predictor",
    "cell_of": "tiles",
    "classify": "classification",
    "features_at": "pixel_features",
    "is_polygons": "outputs.polygons",
    "is_written_here": "outputs.geotiff",
    "map_to_files": "tiled",
    "plan": "tiles",
    "refuse_foreign": "outputs.geotiff",
    "refuse_foreign_polygons": "outputs.polygons",
    "tiles_here": "tiled",
    "write_polygons": "outputs.polygons",
}

__all__ = [
    "SIZE",
    "ClassMap",
    "ComponentMeans",
    "ContextFeatures",
    "EncoderPredictor",
    "GraphPredictor",
    "Layers",
    "Mapped",
    "Mapper",
    "Outputs",
    "PixelFeatures",
    "PixelPredictor",
    "Predictor",
    "RandomPatchFeatures",
    "Refinement",
    "SpectraFeatures",
    "TileMap",
    "WindowPredictor",
    "cell_of",
    "classify",
    "features_at",
    "is_polygons",
    "is_written_here",
    "map_to_files",
    "plan",
    "refuse_foreign",
    "refuse_foreign_polygons",
    "tiles_here",
    "write_polygons",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
