"""Run by Debian's Python with QGIS: open files as QGIS does, say what it shows, and draw it.

Arguments: class map, confidence, polygons, picture to write. Prints JSON.
"""

import json
import os
import sys


def main() -> None:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from qgis.core import (
        QgsApplication,
        QgsMapRendererParallelJob,
        QgsMapSettings,
        QgsProject,
        QgsRasterLayer,
        QgsVectorLayer,
    )
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    map_, confidence, polygons, picture = sys.argv[1:]
    app = QgsApplication([], False)
    app.initQgis()
    layer, sure = QgsRasterLayer(map_, "map"), QgsRasterLayer(confidence, "confidence")
    areas = QgsVectorLayer(f"{polygons}|layername=classes", "polygons")
    renderer = layer.renderer()
    said = {
        "valid": [layer.isValid(), sure.isValid(), areas.isValid()],
        "map": renderer.type(),
        "legend": [[text, colour.name()] for text, colour in layer.legendSymbologyItems()],
        "confidence": sure.renderer().type(),
        "band": sure.bandName(1),
        "polygons": areas.renderer().type(),
        "categories": [[int(c.value()), c.label(), c.symbol().color().name()]
                       for c in areas.renderer().categories()] if areas.renderer().type() ==
                      "categorizedSymbol" else [],
        "fields": [field.name() for field in areas.fields()],
        "features": areas.featureCount(),
        "crs": [layer.crs().authid(), areas.crs().authid()],
    }  # fmt: skip
    QgsProject.instance().addMapLayer(layer)
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setBackgroundColor(QColor(255, 255, 255))
    settings.setOutputSize(QSize(480, 480))
    settings.setExtent(layer.extent())
    settings.setDestinationCrs(layer.crs())
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture)
    print(json.dumps(said))
    sys.stdout.flush()
    os._exit(0)  # taking the layers apart ends in a crash of some releases


if __name__ == "__main__":
    main()
