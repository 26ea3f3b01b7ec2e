"""ENVI: headers by the rules of GDAL, map info, and cubes that GDAL does not read."""
