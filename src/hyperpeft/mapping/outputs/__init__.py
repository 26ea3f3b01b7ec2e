"""What a map is written as: GeoTIFF, QGIS styles, polygons, areas of the classes."""
