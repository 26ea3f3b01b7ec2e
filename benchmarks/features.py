"""How much a frozen encoder's features are worth: ridge heads, no training.

    HYPERPEFT_DATA=... python -m benchmarks.features tiny tiny:scratch FILE.safetensors \
        --out benchmarks/records/features.json

Six scenes, ten labels a class at random, five seeds, 500 test pixels of each; overall accuracy of
the closed-form head on the pooled tokens, alone and beside the centre pixel's components. It takes
a minute a set of weights on two cores: the quick judge of a pretraining objective.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np
import torch

from hyperpeft import spectral, splits
from hyperpeft.models import image_size_of, load_backbone, weights_sha256
from hyperpeft.models.windows import Windows
from hyperpeft.records import Scene
from hyperpeft.runs.sections import source_state
from hyperpeft.system.files import replacing
from hyperpeft.training.classifier import Classifier
from tools.accelerator.prepare import JUDGES, open_judge

SEEDS, LABELS, TESTED = 5, 10, 500


def accuracies(scene: Scene, encoder: Any, patch_size: int) -> dict[str, list[float]]:
    """OA in percent of each seed: head on the tokens, on the centre, on both."""
    cube = spectral.fit(scene, normalise="sqrt").reduce(scene)
    windows = Windows(cube, patch_size)
    found: dict[str, list[float]] = {"tokens": [], "centre": [], "both": []}
    for seed in range(SEEDS):
        split = splits.per_class(scene.labels, LABELS, seed=seed, valid=scene.valid)
        picked = np.random.default_rng(seed).permutation(len(split.test))[:TESTED]
        ids, targets = np.unique(split.train_ids, return_inverse=True)
        model = Classifier(encoder, len(ids), centre=True).eval()
        train, test = (
            model.features_of(windows, torch.from_numpy(p)).double()
            for p in (split.train, split.test[picked])
        )
        labels = torch.from_numpy(targets)
        # The tokens alone, the centre alone (a share so large that nothing else counts), both.
        for name, share in (("tokens", 0.0), ("centre", 1e3), ("both", 0.5)):
            head = model.fit_head(train, labels, share)
            scores = test @ head.weight.T + head.bias
            right = ids[scores.argmax(1).numpy()] == split.test_ids[picked]
            found[name].append(100 * float(right.mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", help="a name, NAME:scratch or a file")
    parser.add_argument("--windows", type=int, nargs="+", default=[3, 7])
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--num-heads", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = Path(os.environ["HYPERPEFT_DATA"])
    scenes = {name: open_judge(name, data) for name in JUDGES}
    rows = []
    for weights in options.weights:
        name, _, how = weights.partition(":")
        size = options.image_size or image_size_of(name, pretrained=not how) if not how else 16
        encoder = load_backbone(name, size, options.num_heads, pretrained=not how)
        for patch_size in options.windows:
            parts = {n: accuracies(s, encoder, patch_size) for n, s in scenes.items()}
            for head in ("tokens", "centre", "both"):
                means = {n: round(float(np.mean(p[head])), 2) for n, p in parts.items()}
                rows.append(
                    {
                        "weights": Path(weights).name,
                        "weights_sha256": weights_sha256(encoder.state_dict()),
                        "image_size": size,
                        "patch_size": patch_size,
                        "head": head,
                        "oa": means,
                        "mean": round(float(np.mean(list(means.values()))), 2),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    commit, dirty = source_state()
    record = {
        "command": "python -m benchmarks.features " + " ".join(Path(a).name for a in sys.argv[1:]),
        "protocol": {"labels_per_class": LABELS, "seeds": SEEDS, "test_pixels": TESTED},
        "commit": commit,
        "dirty": dirty,
        "rows": rows,
    }
    with replacing(options.out) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
