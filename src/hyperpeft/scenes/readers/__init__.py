"""One module a file format, from a path to a cube."""
