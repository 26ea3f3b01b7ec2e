"""Trained adapters as files of their own: listed, exported, or merged into the weights.

Runs are listed without torch, which the other functions import.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from hyperpeft.errors import AdapterError, BundleError, ConfigError
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.file_names import ADAPTER, HEAD, REDUCER, RUN
from hyperpeft.runs.record import RunRecord, method_of_backbone, sees_centre
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import refuse_inputs
from hyperpeft.system.text import megabytes

CARD = "README.md"
_PARTS = ("bias", "weight")


class Row(NamedTuple):
    """A trained run in a few words; None where its record does not say."""

    run: str
    method: str
    parameters: int | None
    megabytes: float | None
    backbone: str | None
    scene: str
    oa: float | None


def list_runs(folders: Iterable[Path]) -> list[Row]:
    """One row per run folder; a folder of run folders stands for those it holds.

    Raises
    ------
    BundleError
        For a folder that is neither, or a record that cannot be read.
    """
    rows = []
    for folder in folders:
        within = [] if (folder / RUN).is_file() else sorted(folder.glob(f"*/{RUN}"))
        for path in within or [folder / RUN]:
            record = RunRecord.from_file(path)
            try:
                rows.append(_row(path.parent, record))
            except (KeyError, TypeError, AttributeError) as error:
                raise BundleError(f"{path} is not a run record ({error!r})") from None
    return rows


def _row(folder: Path, record: RunRecord) -> Row:
    return Row(
        run=str(folder),
        method=record.adapter["method"],
        parameters=record.adapter["trainable_parameters"],
        megabytes=megabytes(record.adapter["bytes"]),
        backbone=record.backbone["name"],
        scene=record.scene["name"],
        oa=record.metrics["oa"],
    )


def export(run: Path, to: Path, *, backbone: str | None = None) -> list[Path]:
    """Write a run as a folder of PEFT's that stock PEFT loads and `hyperpeft map` maps with.

    Beside PEFT's two files lie the head, the reduction to 12 bands, the refinement, the classic
    parts of `auto`, the record, without the folders that the user's files are in, and a model card.

    Parameters
    ----------
    run : Path
        Run folder. Its base model is not needed.
    to : Path
        New or empty folder.
    backbone : str, optional
        Not needed; the other formats load the base model from there.

    Returns
    -------
    list of Path
        The files written, PEFT's `adapter_config.json` and `adapter_model.safetensors` first.

    Raises
    ------
    AdapterError
        When the run has no adapter, or one that stock PEFT has no form for.
    ConfigError
        When `to` holds something already.
    """
    from hyperpeft.adapters import get_method, save_load
    from hyperpeft.export.hub import pushed_files
    from hyperpeft.runs.inputs import without_folders
    from hyperpeft.runs.methods.baseline_files import check_usable

    record = RunRecord.from_file(run / RUN)
    check_usable(run, record)
    method = get_method(method_of_backbone(record))
    if method.adapter is None:
        raise AdapterError(
            f"{run} has no adapter to export: method {method.name} trains "
            f"{'the whole encoder' if method.trains_encoder else 'the head only'}"
        )
    saved = save_load.read(run / ADAPTER)
    if not saved.has_peft_form:
        why = saved.config.get("no_peft_form", "stock PEFT cannot hold it")
        raise AdapterError(
            f"the adapter of {run} has no PEFT form: {why}",
            hint="load the run folder with hyperpeft, or use `hyperpeft adapters merge`",
        )
    width, windows = _check_head(run / HEAD)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"--to {to}", expected="a new or empty folder", got="one with files")
    try:
        head = _describe_head(width, windows, centre=sees_centre(record))
        base = Path(record.backbone["name"]).name  # without the folder of a file
        card = _card(record, head, base)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{run / RUN} is not a run record ({error!r})") from None
    others = [name for name in pushed_files(run) if not name.startswith(f"{ADAPTER}/")]
    save_load.write(to, replace(saved, config={**saved.config, "base_model_name_or_path": base}))
    # The tensors are copied over: the record has the hash of the file, metadata included.
    for name in (f"{ADAPTER}/{save_load.TENSORS}", *others):
        target = to / name.removeprefix(f"{ADAPTER}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(run / name, temporary)
    with replacing(to / RUN) as temporary:
        text = (run / RUN).read_text(encoding="utf-8")
        temporary.write_text(without_folders(text, json.loads(text)), encoding="utf-8")
    with replacing(to / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return [to / name for name in (save_load.CONFIG, save_load.TENSORS, *sorted(others), CARD)]


def _check_head(path: Path) -> tuple[int, list[int]]:
    """Width of the tokens, and the windows that have a head each, none where one head serves.

    BundleError unless the file, copied as it is, holds the tensors of a head.
    """
    try:
        with safe_open(path, "np") as file:
            found = sorted(file.keys())
            windows = sorted(int(n) for n in re.findall(r"head\.([0-9]{1,3})\.bias", str(found)))
            heads = [f"head.{window}" for window in windows] or ["head"]
            expected = sorted(f"{part}.{of}" for part in (*heads, "norm") for of in _PARTS)
            if found == expected:
                return int(file.get_tensor("norm.weight").size), windows
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read ({error})") from None
    raise BundleError(f"{path} is not a head", expected=expected, got=found)


def merge(run: Path, out: Path, *, backbone: str | Path | None = None) -> dict[str, Any]:
    """Write a run's encoder with its adapter merged, as plain weights for `load_backbone`.

    Parameters
    ----------
    run : Path
        Run folder of an adapter method or of `full`.
    out : Path
        A name that ends in .safetensors.
    backbone : str or Path, optional
        Where the base model is now, if it was a file that has moved.

    Returns
    -------
    dict
        "file", "tensors", "bytes" and "num_heads", which the file's metadata hold.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}", expected="a name that ends in .safetensors", got=out.name)
    from hyperpeft.models import save_backbone
    from hyperpeft.runs.inputs import files_of_run, inputs_of_run
    from hyperpeft.runs.load import load_run
    from hyperpeft.runs.methods.baseline_files import check_usable

    check_usable(run, RunRecord.from_file(run / RUN))
    bundle = load_run(run, backbone=backbone, runtime="torch")
    given = None if backbone is None else str(backbone)
    inputs = inputs_of_run(run, bundle.record.config, backbone=given)
    for folder in out.parents[:2]:
        if (folder / RUN).is_file():
            inputs += files_of_run(folder)
    refuse_inputs([out], inputs)
    record, encoder = bundle.record, bundle.model.encoder
    if record.adapter["method"] == "probe":
        raise AdapterError(f"{run} has nothing to merge: method probe trains the head only")
    details = {
        "base": str(record.backbone["name"]),
        "method": str(record.adapter["method"]),
        "scene": str(record.scene["name"]),
        "image_size": str(encoder.image_size),
    }
    with replacing(out) as temporary:
        save_backbone(encoder, temporary, details)
    return {
        "file": str(out),
        "tensors": len(encoder.state_dict()),
        "bytes": out.stat().st_size,
        "num_heads": encoder.num_heads,
    }


def export_merged(run: Path, to: Path, *, backbone: str | None = None) -> list[Path]:
    """As `merge`, with the list of files that an exporter returns."""
    merge(run, to, backbone=backbone)
    return [to]


def _describe_head(width: int, windows: list[int], *, centre: bool) -> str:
    """What goes into the head's linear layer, or into that of each window."""
    layer = "a linear layer"
    if windows:
        sizes = ", ".join(f"{window} x {window}" for window in windows)
        layer = f"for each window of {sizes} pixels, whose predictions are averaged, {layer}"
    if not centre:
        return f"{layer} on the LayerNorm of the mean of the tokens ({width} inputs)."
    from hyperpeft.models.spectralgpt import BANDS
    from hyperpeft.training.classifier import CENTRE_WEIGHT

    return (
        f"{layer} on {width} + {BANDS} inputs: the LayerNorm of the mean of the tokens, "
        f"then {CENTRE_WEIGHT:g} times the {BANDS} components of the window's centre pixel."
    )


def _base_options(record: RunRecord, base: str) -> str:
    """What `load_backbone` is called with for the base model of a run, as Python."""
    config = record.config
    found = [repr(base), str(config["image_size"])]
    if config.get("num_heads") is not None:
        found.append(f"num_heads={config['num_heads']}")
    if config.get("stride") not in (None, RunConfig.model_fields["stride"].default):
        found.append(f"stride={config['stride']}")
    if not record.backbone.get("pretrained", True):
        found.append("pretrained=False")
    return ", ".join(found)


def _card(record: RunRecord, head: str, base: str) -> str:
    """A model card in the form of the Hugging Face hub; `head` says what the head sees."""
    config, adapter, scene = record.config, record.adapter, record.scene
    oa = record.metrics["oa"]
    count = adapter["adapter_parameters"]
    names = record.class_names
    depth = "all blocks" if config["blocks"] == "all" else f"the last {config['blocks']} blocks"
    lines = [
        "---",
        "library_name: peft",
        f"base_model: {json.dumps(base)}",
        "tags: [hyperspectral, remote-sensing, hyperpeft]",
        "---",
        "",
        f"# {adapter['method']} on {base}, for {scene['name']}",
        "",
        f"Trained by hyperpeft {record.hyperpeft}: {count:,} adapter parameters on "
        f"{', '.join(config['targets'])} of {depth}, "
        f"{record.split['train']:,} training pixels, seed {config['seed']}. "
        + ("" if oa is None else f"Overall accuracy on its test pixels: {oa:.2f} %."),
        "",
        "- Outputs of the head, in their order, as id and name of the class: "
        + ", ".join(f"{i} {names.get(i, 'unnamed')}" for i in adapter["class_ids"]),
        f"- Base weights: sha256 `{record.backbone['weights_sha256']}`",
        f"- `{HEAD}`: {head}",
        f"- `{REDUCER}`: from a scene's bands to 12; the scene must have the same bands.",
        "- Base weights are not in this folder.",
        "",
        "```",
        "hyperpeft map FOLDER SCENE.tif --out map.tif",
        "```",
        "",
        "```python",
        "import hyperpeft",
        f"encoder = hyperpeft.load_backbone({_base_options(record, base)})",
        "# with hyperpeft",
        "from hyperpeft import adapters",
        "adapters.load(encoder, FOLDER)",
        "# or, instead, with stock PEFT",
        "from peft import PeftModel",
        "model = PeftModel.from_pretrained(encoder, FOLDER)",
        "```",
    ]
    return "\n".join(lines) + "\n"
