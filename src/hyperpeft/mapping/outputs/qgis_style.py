"""Styles that QGIS loads with a layer: `map.qml` beside `map.tif`.

A class map is drawn by a paletted renderer with an entry for each class that occurs, and none for
0, which is nodata and stays transparent. Without a style QGIS lists the 256 entries of the colour
table. The confidence is drawn by its first band, in the colours of viridis. Format: QGIS 3,
`QgsPalettedRasterRenderer`, `QgsSingleBandPseudoColorRenderer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from hyperpeft.records import Colour, to_hex
from hyperpeft.system.text import xml_text

VIRIDIS: tuple[Colour, ...] = (
    (68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37),
)  # fmt: skip


def style_path(path: Path) -> Path:
    """Where QGIS looks for the style of a raster."""
    return path.with_suffix(".qml")


def class_style(
    present: Iterable[int], classes: Mapping[int, str], colours: Mapping[int, Colour]
) -> str:
    """Of a class map in which these ids occur."""
    entries = "\n".join(
        f'        <paletteEntry value="{i}" color="{to_hex(colours[i])}" alpha="255" '
        f"label={quoteattr(xml_text(classes[i]))}/>"
        for i in sorted(present)
        if i
    )
    return _document(
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" '
        f'nodataColor="">\n      <colorPalette>\n{entries}\n      </colorPalette>\n'
        "    </rasterrenderer>"
    )


def band_style(low: float, high: float, name: str) -> str:
    """Of the numbers of a first band, between two values."""
    steps = [low + (high - low) * k / (len(VIRIDIS) - 1) for k in range(len(VIRIDIS))]
    items = "\n".join(
        f'          <item value="{value:g}" color="{to_hex(colour)}" alpha="255" '
        f"label={quoteattr(xml_text(f'{name} {value:g}'))}/>"
        for value, colour in zip(steps, VIRIDIS, strict=True)
    )
    return _document(
        '    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" '
        f'alphaBand="-1" nodataColor="" classificationMin="{low:g}" classificationMax="{high:g}">\n'
        '      <rastershader>\n        <colorrampshader colorRampType="INTERPOLATED" clip="0" '
        f'classificationMode="1" minimumValue="{low:g}" maximumValue="{high:g}">\n{items}\n'
        "        </colorrampshader>\n      </rastershader>\n    </rasterrenderer>"
    )


def polygon_style(classes: Mapping[int, str], colours: Mapping[int, Colour]) -> str:
    """Of polygons whose attribute `class` is the id."""
    categories = "\n".join(
        f'      <category value="{i}" type="integer" symbol="{k}" render="true" '
        f"label={quoteattr(xml_text(name))}/>"
        for k, (i, name) in enumerate(classes.items())
    )
    symbols = "\n".join(
        f'      <symbol type="fill" name="{k}" alpha="1"><layer class="SimpleFill" enabled="1">'
        f'<prop k="color" v="{",".join(map(str, colours[i]))},255"/>'
        '<prop k="outline_color" v="60,60,60,255"/><prop k="outline_width" v="0.1"/>'
        "</layer></symbol>"
        for k, i in enumerate(classes)
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22.0" styleCategories="Symbology">\n'
        '  <renderer-v2 type="categorizedSymbol" attr="class" enableorderby="0">\n'
        f"    <categories>\n{categories}\n    </categories>\n"
        f"    <symbols>\n{symbols}\n    </symbols>\n  </renderer-v2>\n</qgis>\n"
    )


def _document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22.0" styleCategories="Symbology">\n  <pipe>\n'
        f"{renderer}\n  </pipe>\n  <blendMode>0</blendMode>\n</qgis>\n"
    )
