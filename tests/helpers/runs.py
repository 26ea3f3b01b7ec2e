"""Run folders of adapters that were never trained, with everything that loading one reads."""

import numpy as np
import torch
import xarray as xr

from hyperpeft import adapters, spectral
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.records import Scene
from hyperpeft.runs.file_names import REDUCER, RUN
from hyperpeft.runs.record import RunRecord
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.training.classifier import Classifier

BANDS = 20


def make_scene(seed=0, height=6, width=5):
    cube = np.random.default_rng(seed).normal(size=(BANDS, height, width)).astype(np.float32)
    return Scene(
        "made", xr.DataArray(cube, dims=("band", "y", "x")), np.ones((height, width), bool)
    )


def make_run(
    folder,
    method="krona+",
    *,
    classes=4,
    seed=0,
    backbone="tiny",
    encoder=None,
    sha256=None,
    **more,
):
    """Write a run folder.

    `encoder` and the hash of its weights spare building the backbone; it is left as it was.
    """
    encoder = load_backbone(backbone) if encoder is None else encoder
    sha256 = sha256 or weights_sha256(encoder.state_dict())
    adapters.attach(encoder, method, seed=seed, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in adapters.adapters_of(encoder).values():
            for _, parameter in adapter.own_parameters():
                parameter.copy_(torch.empty(parameter.shape).normal_(0, 0.1, generator=generator))
    model = Classifier(encoder, classes, seed)
    folder.mkdir(parents=True)
    size = save_weights(folder, model, method, backbone)
    spectral.fit(make_scene(seed)).to_file(folder / REDUCER)
    count = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    record = RunRecord(
        hyperpeft="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        config={
            "image_size": 32, "num_heads": None, "stride": 8, "patch_size": 5,
            "precision": "fp32", "targets": ["q", "v"], "blocks": "all", "seed": seed,
        },
        scene={
            "name": f"scene {seed}",
            "class_ids": list(range(1, classes + 1)),
            "classes": [f"class {i}" for i in range(1, classes + 1)],
            "colours": [[i, i, i] for i in range(classes)],
        },
        reducer={},
        split={"train": 40},
        backbone={
            "name": backbone, "parameters": 1, "weights_sha256": sha256,
            "pretrained": encoder.pretrained,
        },
        adapter={
            "method": method,
            "adapter_parameters": count,
            "trainable_parameters": count + 1000,
            "trainable_percent": 0.1,
            "bytes": size,
            "class_ids": list(range(1, classes + 1)),
        },
        metrics={"oa": 91.25},
        timing={},
        environment={},
    )  # fmt: skip
    (folder / RUN).write_text(record.to_json())
    adapters.detach(encoder)
    return folder
