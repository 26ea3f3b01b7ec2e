"""Prepare the arrays that `tools.accelerator.run` needs, so that no reader is needed there.

    python -m tools.accelerator.prepare --data DATA --out accelerator

DATA is the data folder, with `spectral-libraries` and `pretraining/hyperspectral`. OUT gets
`library.npz`, `cubes.npz` (unlabelled cubes, 16 bit, neighbouring bands averaged in pairs) and
`judge.npz` (the labelled scenes reduced to 12 components, with splits: what frozen features are
judged by; nothing is trained on it).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hyperpeft import open_scene, spectral, splits
from hyperpeft.pretraining.scene_episodes import open_library
from hyperpeft.records import Scene, Split

LIBRARIES = ("usgs-splib/s07_AV95_envi.hdr", "ecostress/ecostress_library_with_mixtures.hdr")
# Places of benchmark scenes are left out: abu-beach-4 is Pavia. The others are too small.
LEFT_OUT = ("abu-beach-4", "moffett", "salton_sea_roi")
JUDGES = ("salinas-a", "indian-pines-10band", "enmap-potsdam", "berlin", "jasper-ridge", "samson")
SEEDS, LABELS, TESTED = 3, 10, 1000
WINDOW = 11  # the largest that `run` judges with


def cubes_of(folder: Path) -> dict[str, np.ndarray]:
    """Unlabelled cubes (B, H, W) float16, standardised as a whole, bands averaged in pairs."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.stem in LEFT_OUT:
            continue
        cube = open_scene(path).cube.values.astype(np.float32)
        cube = cube[: len(cube) // 2 * 2].reshape(-1, 2, *cube.shape[1:]).mean(1)
        cube = np.nan_to_num(cube)
        low, high = np.percentile(cube, [0.01, 99.99])
        cube = np.clip(cube, low, high)
        found[path.stem] = ((cube - cube.mean()) / cube.std()).astype(np.float16)
    return found


def judges(data: Path) -> dict[str, np.ndarray]:
    """For each scene and seed: components, training and test pixels and their class indices."""
    arrays: dict[str, np.ndarray] = {}
    for name in JUDGES:
        scene = open_judge(name, data)
        assert scene.labels is not None
        arrays[f"{name}/cube"] = spectral.fit(scene, normalise="sqrt").reduce(scene)
        for kind in ("random", "disjoint"):
            for seed in range(SEEDS):
                split = _split(kind, scene, seed)
                picked = np.random.default_rng(seed).permutation(len(split.test))[:TESTED]
                ids = np.unique(split.train_ids)
                key = f"{name}/{kind}/{seed}"
                arrays[f"{key}/train"] = split.train
                arrays[f"{key}/train_classes"] = np.searchsorted(ids, split.train_ids)
                arrays[f"{key}/test"] = split.test[picked]
                arrays[f"{key}/test_classes"] = np.searchsorted(ids, split.test_ids[picked])
    return arrays


def _split(kind: str, scene: Scene, seed: int) -> Split:
    assert scene.labels is not None
    if kind == "random":
        return splits.per_class(scene.labels, LABELS, seed=seed, valid=scene.valid)
    return splits.disjoint(scene.labels, window=WINDOW, n=LABELS, seed=seed, valid=scene.valid)


def open_judge(name: str, data: Path) -> Scene:
    """One of `JUDGES` of the data folder."""
    if name != "berlin":
        return open_scene(name)
    folder = data / "berlin-enmap"
    return open_scene(
        folder / "EnMAP_BerlinUrbanGradient.bsq",
        labels=folder / "LandCov_BerlinUrbanGradient.shp",
        class_field="Level_2",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    library = open_library([str(options.data / "spectral-libraries" / n) for n in LIBRARIES])
    assert library is not None
    library.save(options.out / "library.npz")
    np.savez(options.out / "judge.npz", **judges(options.data))
    cubes = cubes_of(options.data / "pretraining" / "hyperspectral")
    np.savez_compressed(options.out / "cubes.npz", **cubes)
    print({name: cube.shape for name, cube in cubes.items()})


if __name__ == "__main__":
    main()
