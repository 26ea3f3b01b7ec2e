"""The table of benchmark scenes. Adding a scene is adding one card at the end of this file.

Label counts are those of the published ground-truth maps, in label order; they are checked
against the files whenever a card is opened.
"""

from __future__ import annotations

import difflib

from hyperpeft.errors import SceneError
from hyperpeft.scenes.catalog.card import Card, File


def get_card(name: str) -> Card:
    """The card of that name.

    Raises
    ------
    SceneError
        No such card; the message suggests the closest names and lists all.

    Examples
    --------
    >>> get_card("salinas-a").labelled
    5348
    """
    card = CARDS.get(card_key(name))
    if card is None:
        raise SceneError(
            f"there is no scene card named {name!r}{_suggestion(name)}",
            expected=f"one of {', '.join(CARDS)}",
        )
    return card


def card_key(name: str) -> str:
    """A name as the table of cards has it."""
    return name.lower().replace("_", "-")


def no_scene(name: str) -> SceneError:
    """The error on a name that is neither a card's nor a file's."""
    return SceneError(
        f"there is no scene {name!r}: neither a card nor a file{_suggestion(name)}",
        hint=f"give a path, or one of {', '.join(CARDS)}, demo",
    )


def _suggestion(name: str) -> str:
    """Close card names as ' (did you mean ...?)', or nothing."""
    close = difflib.get_close_matches(card_key(name), [*CARDS, "demo"], n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _classes(table: str, ids: tuple[int, ...] = ()) -> dict[int, tuple[str, int]]:
    """'Name count; Name count' to {id: (name, count)}; ids count from 1 unless given."""
    rows = [entry.strip().rsplit(" ", 1) for entry in table.split(";")]
    numbers = ids or tuple(range(1, len(rows) + 1))
    return {i: (name, int(n)) for i, (name, n) in zip(numbers, rows, strict=True)}


_EHU = "http://www.ehu.eus/ccwintco/uploads"
_AVIRIS = (43, 21, 11)
_INDIAN_PINES = """Alfalfa 46; Corn-notill 1428; Corn-mintill 830; Corn 237; Grass-pasture 483;
    Grass-trees 730; Grass-pasture-mowed 28; Hay-windrowed 478; Oats 20; Soybean-notill 972;
    Soybean-mintill 2455; Soybean-clean 593; Wheat 205; Woods 1265;
    Buildings-Grass-Trees-Drives 386; Stone-Steel-Towers 93"""
_INDIAN_PINES_GT = File(
    "labels",
    ("Indian_pines_gt.mat", "indian_pines_corrected_gt.mat"),
    ("indian_pines_gt",),
    f"{_EHU}/c/c4/Indian_pines_gt.mat",
    "65c4687a8ab04f6da4789799bc3bc4f6e88bccac3ed6a2e6ae367e5e6b9e429c",
)
_ABUNDANCES = (
    "labels are derived from abundances: the largest one where it exceeds 0.7, else unlabelled"
)
_HOUSTON_ZIP = "https://machinelearning.ee.uh.edu/2egf4tg8hial13gt/2013_DFTC.zip"
_HOUSTON_SHA = "f4d619d5cbcb09d0301038f1b8fe83def6c2d484334b7b8127740a00ecf7e245"
_HOUSTON_FILES = ("Houston.mat", "Houston2013.mat", "Houston13.mat", "HoustonU.mat")

_TABLE = (
    Card(
        "indian-pines",
        "Indian Pines, Indiana, 1992",
        "AVIRIS",
        (145, 145, 200),
        20.0,
        "0.4-2.5 um",
        _classes(_INDIAN_PINES),
        _AVIRIS,
        (
            File(
                "cube",
                ("Indian_pines_corrected.mat",),
                ("indian_pines_corrected", "data"),
                f"{_EHU}/6/67/Indian_pines_corrected.mat",
            ),
            _INDIAN_PINES_GT,
        ),
        note="the older Purdue map has 10,366 labelled pixels; this is the one of 10,249",
    ),
    Card(
        "pavia-university",
        "Pavia University, Italy, 2001",
        "ROSIS",
        (610, 340, 103),
        1.3,
        "0.43-0.86 um",
        _classes("""Asphalt 6631; Meadows 18649; Gravel 2099; Trees 3064;
            Painted metal sheets 1345; Bare soil 5029; Bitumen 1330;
            Self-blocking bricks 3682; Shadows 947"""),
        (55, 41, 12),
        (
            File("cube", ("PaviaU.mat",), ("paviaU",), f"{_EHU}/e/ee/PaviaU.mat"),
            File(
                "labels",
                ("PaviaU_gt.mat",),
                ("paviaU_gt",),
                f"{_EHU}/5/50/PaviaU_gt.mat",
                "23f6a426928f9b32984adffe659e29f554f9fb6c93b5a107528d308d5087a829",
            ),
        ),
    ),
    Card(
        "pavia-centre",
        "Pavia Centre, Italy, 2001",
        "ROSIS",
        (1096, 715, 102),
        1.3,
        "0.43-0.86 um",
        _classes("""Water 65971; Trees 7598; Meadows 3090; Self-blocking bricks 2685;
            Bare soil 6584; Asphalt 9248; Bitumen 7287; Tiles 42826; Shadows 2863"""),
        (55, 41, 12),
        (
            File("cube", ("Pavia.mat", "PaviaC.mat"), ("pavia",), f"{_EHU}/e/e3/Pavia.mat"),
            File(
                "labels",
                ("Pavia_gt.mat", "PaviaC_gt.mat"),
                ("pavia_gt",),
                f"{_EHU}/5/53/Pavia_gt.mat",
            ),
        ),
        note="published class lists of this map disagree on the order of the names; ids and "
        "counts are those of the file",
    ),
    Card(
        "salinas",
        "Salinas Valley, California, 1998",
        "AVIRIS",
        (512, 217, 204),
        3.7,
        "0.4-2.5 um",
        _classes("""Brocoli_green_weeds_1 2009; Brocoli_green_weeds_2 3726; Fallow 1976;
            Fallow_rough_plow 1394; Fallow_smooth 2678; Stubble 3959; Celery 3579;
            Grapes_untrained 11271; Soil_vinyard_develop 6203; Corn_senesced_green_weeds 3278;
            Lettuce_romaine_4wk 1068; Lettuce_romaine_5wk 1927; Lettuce_romaine_6wk 916;
            Lettuce_romaine_7wk 1070; Vinyard_untrained 7268; Vinyard_vertical_trellis 1807"""),
        _AVIRIS,
        (
            File(
                "cube",
                ("Salinas_corrected.mat",),
                ("salinas_corrected",),
                f"{_EHU}/a/a3/Salinas_corrected.mat",
            ),
            File(
                "labels",
                ("Salinas_gt.mat",),
                ("salinas_gt",),
                f"{_EHU}/f/fa/Salinas_gt.mat",
                "ecfab4d31ef5553f097943235d8ea502038eb4a2067b2ad10b33e37c949955e2",
            ),
        ),
    ),
    Card(
        "salinas-a",
        "Salinas-A, a part of Salinas",
        "AVIRIS",
        (83, 86, 204),
        3.7,
        "0.4-2.5 um",
        _classes(
            """Brocoli_green_weeds_1 391; Corn_senesced_green_weeds 1343;
            Lettuce_romaine_4wk 616; Lettuce_romaine_5wk 1525; Lettuce_romaine_6wk 674;
            Lettuce_romaine_7wk 799""",
            (1, 10, 11, 12, 13, 14),
        ),
        _AVIRIS,
        (
            File(
                "cube",
                ("SalinasA_corrected.mat",),
                ("salinasA_corrected",),
                f"{_EHU}/1/1a/SalinasA_corrected.mat",
            ),
            File("labels", ("SalinasA_gt.mat",), ("salinasA_gt",), f"{_EHU}/a/aa/SalinasA_gt.mat"),
        ),
    ),
    Card(
        "houston-2013",
        "University of Houston, GRSS contest 2013",
        "CASI",
        (349, 1905, 144),
        2.5,
        "364-1046 nm",
        _classes("""Healthy grass 1251; Stressed grass 1254; Synthetic grass 697; Trees 1244;
            Soil 1242; Water 325; Residential 1268; Commercial 1244; Road 1252; Highway 1227;
            Railway 1235; Parking lot 1 1233; Parking lot 2 469; Tennis court 428;
            Running track 660"""),
        (61, 38, 20),
        (
            File(
                "cube",
                ("2013_IEEE_GRSS_DF_Contest_CASI.tif", *_HOUSTON_FILES),
                ("Houston", "ori_data", "HSI", "input"),
                _HOUSTON_ZIP,
                _HOUSTON_SHA,
            ),
            File(
                "train",
                ("houston_gt.mat", "2013_IEEE_GRSS_DF_Contest_Samples_TR.txt", *_HOUSTON_FILES),
                ("houston_gt_tr", "TRLabel", "TR"),
                _HOUSTON_ZIP,
                _HOUSTON_SHA,
            ),
            File(
                "test",
                ("houston_gt.mat", "2013_IEEE_GRSS_DF_Contest_Samples_VA.txt", *_HOUSTON_FILES),
                ("houston_gt_te", "TSLabel", "TE"),
            ),
        ),
        note="official training and test masks; the labels are their union; the archive that is "
        "downloaded lacks the test samples",
        train_counts=(198, 190, 192, 188, 186, 182, 196, 191, 193, 191, 181, 192, 184, 181, 187),
    ),
    Card(
        "whu-hi-longkou",
        "WHU-Hi LongKou, China, 2018",
        "Headwall Nano (UAV)",
        (550, 400, 270),
        0.463,
        "400-1000 nm",
        _classes("""Corn 34511; Cotton 8374; Sesame 3031; Broad-leaf soybean 63212;
            Narrow-leaf soybean 4151; Rice 11854; Water 67056; Roads and houses 7124;
            Mixed weed 5229"""),
        (47, 31, 15),
        (
            File("cube", ("WHU_Hi_LongKou.mat",), ("WHU_Hi_LongKou",)),
            File("labels", ("WHU_Hi_LongKou_gt.mat",), ("WHU_Hi_LongKou_gt",)),
        ),
        note="downloaded by hand from http://rsidea.whu.edu.cn/resource_WHUHi_sharing.htm",
    ),
    Card(
        "botswana",
        "Okavango Delta, Botswana, 2001",
        "Hyperion",
        (1476, 256, 145),
        30.0,
        "0.4-2.5 um",
        _classes("""Water 270; Hippo grass 101; Floodplain grasses 1 251;
            Floodplain grasses 2 215; Reeds 269; Riparian 269; Firescar 259;
            Island interior 203; Acacia woodlands 314; Acacia shrublands 248;
            Acacia grasslands 305; Short mopane 181; Mixed mopane 268; Exposed soils 95"""),
        (75, 33, 15),
        (
            File("cube", ("Botswana.mat",), ("Botswana",), f"{_EHU}/7/72/Botswana.mat"),
            File("labels", ("Botswana_gt.mat",), ("Botswana_gt",), f"{_EHU}/5/58/Botswana_gt.mat"),
        ),
    ),
    Card(
        "ksc",
        "Kennedy Space Center, Florida, 1996",
        "AVIRIS",
        (512, 614, 176),
        18.0,
        "0.4-2.5 um",
        _classes("""Scrub 761; Willow swamp 243; Cabbage palm hammock 256;
            Cabbage palm/oak 252; Slash pine 161; Oak/broadleaf hammock 229;
            Hardwood swamp 105; Graminoid marsh 431; Spartina marsh 520; Cattail marsh 404;
            Salt marsh 419; Mud flats 503; Water 927"""),
        _AVIRIS,
        (
            File("cube", ("KSC.mat",), ("KSC",), f"{_EHU}/2/26/KSC.mat"),
            File("labels", ("KSC_gt.mat",), ("KSC_gt",), f"{_EHU}/a/a6/KSC_gt.mat"),
        ),
    ),
    Card(
        "jasper-ridge",
        "Jasper Ridge, California (100 x 100 pixels)",
        "AVIRIS",
        (100, 100, 198),
        20.0,
        "0.38-2.5 um",
        _classes("Tree 2314; Water 3205; Soil 1022; Road 418"),
        (26, 15, 6),
        (
            File("cube", ("Jasper.mat", "jasperRidge2_R198.mat"), ("Y",)),
            File("labels", ("Jasper.mat",), ("S_GT",), rule="abundances"),
        ),
        layout="b (w h)",
        note=_ABUNDANCES,
    ),
    Card(
        "samson",
        "Samson (95 x 95 pixels)",
        "SAMSON",
        (95, 95, 156),
        3.2,
        "401-889 nm",
        _classes("Soil 2230; Tree 2474; Water 1878"),
        (79, 47, 19),
        (
            File("cube", ("Samson.mat",), ("Y",)),
            File("labels", ("Samson.mat",), ("S_GT",), rule="abundances"),
        ),
        layout="b (w h)",
        note=_ABUNDANCES,
    ),
    Card(
        "indian-pines-10band",
        "Indian Pines in 10 simulated Sentinel-2 bands",
        "AVIRIS, resampled",
        (145, 145, 10),
        20.0,
        "visible and near infrared",
        _classes(_INDIAN_PINES),
        (3, 2, 1),
        (
            File("cube", ("Indian_pines_10band.mat",), ("data_MS_HR",)),
            _INDIAN_PINES_GT,
        ),
        note="a resampled scene, not the 200-band benchmark",
    ),
    Card(
        "enmap-potsdam",
        "Potsdam, Germany, 24 July 2022",
        "EnMAP",
        (192, 160, 218),
        30.0,
        "418-2446 nm",
        _classes("""Roof 505; Pavement 953; Low vegetation 1694; Tree 2070; Soil 91;
            Water 359"""),
        (46, 28, 12),
        (
            File("cube", ("enmap_potsdam.tif",)),
            File("labels", ("enmap_potsdam_labels.tif",)),
        ),
        note="18 tiles of a larger image; nodata between them",
    ),
)

CARDS: dict[str, Card] = {card.name: card for card in _TABLE}
