"""Label maps of every format, and those that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.transform import from_origin

from hyperpeft.errors import LabelsError
from hyperpeft.records import palette
from hyperpeft.scenes import open_scene, read_labels
from tests.helpers.scene_files import UTM, cube, geotiff, mat5, mat73

IDS = np.zeros((7, 5), np.uint8)
IDS[1:3, 1:4] = 2
IDS[5, :] = 7


def test_formats(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    np.savez(tmp_path / "a.npz", one=IDS, two=np.ones((7, 5)))
    specs = [
        mat5(tmp_path / "a.mat", gt=IDS.astype(float), n=np.array([[3.0]])),
        mat73(tmp_path / "b.mat", gt=IDS.astype(float)),
        tmp_path / "a.npy",
        f"{tmp_path / 'a.npz'}:one",
        geotiff(tmp_path / "a.tif", IDS),
    ]
    for spec in specs:
        labels = read_labels(spec)
        np.testing.assert_array_equal(labels.ids, IDS)
        assert labels.ids.dtype == np.int32
        assert labels.classes == {2: "class 2", 7: "class 7"}
        assert labels.colours == palette([2, 7])
    with pytest.raises(LabelsError, match=r"ambiguous.*a.npz:one \(7, 5\).*a.npz:two \(7, 5\)"):
        read_labels(tmp_path / "a.npz")


def test_raster_names_colours_and_nodata(tmp_path):
    path = geotiff(
        tmp_path / "a.tif",
        np.where(IDS == 0, 255, IDS).astype(np.uint8),
        nodata=255,
        tags={"CLASS_2": "Water", "class_7": "Roof"},
        colours={2: (1, 2, 3), 7: (4, 5, 6)},
    )
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.ids, IDS)
    assert labels.classes == {2: "Water", 7: "Roof"}
    assert labels.colours == {2: (1, 2, 3), 7: (4, 5, 6)}


def test_abundances(tmp_path):
    a = np.zeros((2, 2, 3))
    a[0, 0] = (0.71, 0.29, 0)
    a[0, 1] = (0.3, 0.7, 0)  # exactly the threshold: mixed
    a[1, 0] = (0, 0.1, 0.9)
    a[1, 1] = (0.4, 0.3, 0.3)
    path = mat5(tmp_path / "a.mat", S=a)
    labels = read_labels(f"{path}:S", rule="abundances", classes={1: "Soil", 2: "Tree", 3: "Water"})
    assert labels.ids.tolist() == [[1, 0], [3, 0]]
    assert labels.classes == {1: "Soil", 2: "Tree", 3: "Water"}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IDS.astype(int) - 1, "negative ids.*got -1.*declare them as nodata"),
        (IDS + 0.5, "expected whole numbers, got 0.5"),
        (np.where(IDS, np.nan, 0), "expected whole numbers, got nan"),
        (np.zeros((7, 5)), "hold no class"),
        (IDS.astype(np.int64) * 100_000, "expected ids up to 65535, got 700000"),
        (np.ones((2, 3, 4)), "expected one 2-D numeric variable"),
    ],
)
def test_maps_that_are_refused(tmp_path, array, message):
    with pytest.raises(LabelsError, match=message):
        read_labels(mat5(tmp_path / "a.mat", gt=array))


def test_grids_that_do_not_fit(tmp_path):
    scene = geotiff(tmp_path / "s.tif", cube())
    assert open_scene(scene, labels=geotiff(tmp_path / "l.tif", IDS)).labels.counts() == {
        2: 6,
        7: 5,
    }
    with pytest.raises(LabelsError, match=r"expected \(7, 5\) pixels.*got \(6, 5\)"):
        open_scene(scene, labels=mat5(tmp_path / "l.mat", gt=IDS[:6]))
    with pytest.raises(LabelsError, match=r"expected EPSG:32633, got EPSG:32634"):
        open_scene(scene, labels=geotiff(tmp_path / "c.tif", IDS, crs="EPSG:32634"))
    shifted = geotiff(
        tmp_path / "t.tif", IDS, crs=UTM, transform=from_origin(364_030, 5_810_000, 30, 30)
    )
    with pytest.raises(LabelsError, match="another transform than scene s"):
        open_scene(scene, labels=shifted)
    plain = geotiff(tmp_path / "p.tif", IDS, crs=None)
    assert open_scene(scene, labels=plain).labels.counts() == {2: 6, 7: 5}


def test_missing_and_web_pages(tmp_path):
    with pytest.raises(LabelsError, match="there is no file"):
        read_labels(tmp_path / "no.mat")
    (tmp_path / "a.mat").write_bytes(b"<html>")
    with pytest.raises(LabelsError, match="web page"):
        read_labels(tmp_path / "a.mat")
    with pytest.raises(LabelsError, match="expected 1 band, got 6"):
        read_labels(geotiff(tmp_path / "a.tif", cube()))


def test_palette_is_distinct_and_stable():
    many = palette(range(300))
    assert 0 not in many
    assert len(set(many.values())) == 299
    assert palette([5])[5] == many[5]
    assert palette([299, 250]) == palette([250, 299])


def test_envi_regions_of_interest(tmp_path):
    """Written from a raster as ENVI writes it: X and Y from 1, regions one after the other."""
    head = ["; ENVI Output of ROIs (4.8)", "; Number of ROIs: 2", "; File Dimension: 5 x 7", ";"]
    body = [";    ID     X    Y"]
    for name, i in (("water", 2), ("roof", 7)):
        points = np.argwhere(i == IDS)
        head += [f"; ROI name: {name}", f"; ROI npts: {len(points)}", ";"]
        body += [f"{n} {c + 1} {r + 1}" for n, (r, c) in enumerate(points, 1)] + [""]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(head + body))
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.ids, np.select([IDS == 2, IDS == 7], [1, 2]))
    assert labels.classes == {1: "water", 2: "roof"}
    path.write_text("\n".join(head + body[:-3]))
    with pytest.raises(LabelsError, match="expected 11 points, got 9"):
        read_labels(path)
    path.write_text("\n".join([*head, *body[:-2], "9 6 1"]))
    with pytest.raises(LabelsError, match="outside its 7 x 5 pixels"):
        read_labels(path)
    path.write_text(head[0])
    with pytest.raises(LabelsError, match="no complete header"):
        read_labels(path)
