"""Scenes on a server, which the user names: GeoTIFF through GDAL, Zarr through fsspec."""
