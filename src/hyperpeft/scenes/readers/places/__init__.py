"""Where a cube lies: grid mappings, coordinates, control points, map info."""
