"""Colours of classes under the three kinds of colour blindness."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hyperpeft.records import palette

# Machado, Oliveira and Fernandes (2009), table 1, severity 1: on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, vision):
    """CIELAB (D65) of an sRGB colour as it is seen."""
    srgb = np.asarray(colour) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / [0.9505, 1, 1.089]
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def nearest(colours, vision):
    seen = [lab(colour, vision) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("vision", VISION)
def test_twenty_classes_stay_apart(vision):
    assert nearest(palette(range(1, 21)).values(), vision) > 15


@pytest.mark.parametrize("vision", VISION)
def test_known_names_stay_apart(vision):
    names = dict(enumerate(["water", "tree", "grass", "soil", "roads", "roof", "shadow"], start=1))
    assert nearest(palette(names, names).values(), vision) > 16


def test_names_get_the_colours_that_readers_expect():
    names = {1: "Bare soil", 2: "Tree", 3: "Lake water", 4: "Painted sheets", 5: "Swamp tree"}
    colours = palette(names, names)
    assert colours[3][2] == max(colours[3])  # blue
    assert colours[2][1] == max(colours[2])  # green
    assert colours[1][0] == max(colours[1])  # brown
    assert len(set(colours.values())) == 5
    assert list(colours) == [1, 2, 3, 4, 5]


def test_many_named_classes_have_different_colours():
    names = {i: f"tree {i}" for i in range(1, 120)}
    assert len(set(palette(names, names).values())) == 119
