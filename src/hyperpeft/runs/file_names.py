"""Names of the files in a run folder and in the folder of a benchmark; spelled here only.

RUN/run.json                the record: options, scene, split, backbone, adapter, scores, times
    adapter/                in PEFT's layout
    backbone.safetensors    of `full`: the whole encoder
    head.safetensors        LayerNorm and linear layer
    reducer.safetensors     from the scene's bands to 12
    refinement.safetensors  what guides the refinement of the probabilities
    parts/NAME/             of `auto`: features.safetensors and model.onnx of a classic part
    model.onnx              of baselines that classify pixels; others: network.safetensors
    features.safetensors    of baselines: what they see of a pixel
    split.npz               training, validation and test pixels
    history.csv             losses by epoch
    map.tif, map.qml, map.png, confusion.png
"""

from __future__ import annotations

RUN, HEAD, REDUCER, SPLIT = "run.json", "head.safetensors", "reducer.safetensors", "split.npz"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # of PEFT
ADAPTER, BACKBONE, HISTORY = "adapter", "backbone.safetensors", "history.csv"
REFINEMENT = "refinement.safetensors"
PARTS = "parts"
FEATURES, MODEL, NETWORK = "features.safetensors", "model.onnx", "network.safetensors"
CHECKPOINTS = "checkpoint"
MAP, STYLE, PICTURE, CONFUSION = "map.tif", "map.qml", "map.png", "confusion.png"

# Of a benchmark: its configuration; of a cell: why it failed, and its class map as a picture.
BENCH, FAILED, CLASSES = "bench.json", "failed.json", "classes.png"

# What a run writes: the only names that --overwrite removes.
OUTPUTS = (
    RUN, HEAD, REDUCER, REFINEMENT, FEATURES, MODEL, NETWORK, SPLIT, BACKBONE, ADAPTER, PARTS,
    HISTORY, MAP, f"{MAP}.aux.xml", STYLE, PICTURE, CONFUSION, CHECKPOINTS,
)  # fmt: skip
