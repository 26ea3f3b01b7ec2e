"""Class labels of every kind, on the grid of a scene."""
