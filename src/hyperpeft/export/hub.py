"""Runs on the Hugging Face Hub: pushed with a model card, pulled into a folder that maps at once.

What travels is the card, JSON, safetensors, and ONNX of forests, vector machines, exported runs.
An ONNX file is read for its numbers alone, which are checked, and the graph that is executed is
built again from them (`graphs.frame`): like safetensors, it can hold no code that runs.
The record's paths are cut to names: where a user keeps files is nobody else's business.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError, ConfigError, DownloadError
from hyperpeft.runs.file_names import (
    ADAPTER,
    ADAPTER_FILES,
    BACKBONE,
    FEATURES,
    HEAD,
    MODEL,
    NETWORK,
    PARTS,
    REDUCER,
    REFINEMENT,
    RUN,
)
from hyperpeft.runs.inputs import without_folders
from hyperpeft.runs.methods.baseline_files import check_links, check_parts
from hyperpeft.runs.record import RunRecord
from hyperpeft.system.files import within

CARD = "README.md"


def pushed_files(folder: Path) -> list[str]:
    """Names of the files of a run that travel, relative to its folder.

    Raises
    ------
    BundleError
        The folder is no complete run, or holds files of another.
    """
    record = RunRecord.from_file(folder / RUN)
    check_links(folder)
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    found = [name for name in present if _travels(name) and within(folder, name).is_file()]
    missing = _missing(record, found)
    if missing:
        raise BundleError(f"{folder} cannot be shared", expected=missing, got="no such file")
    check_parts(folder, record)
    return found


def _missing(record: RunRecord, names: Collection[str]) -> str | None:
    """What a run of its method lacks of the files that it takes to predict again."""
    if record.adapter["method"] in BASELINES:
        lacking = [FEATURES] if FEATURES not in names else []
        if MODEL not in names and NETWORK not in names:
            lacking.append(f"{MODEL} or {NETWORK}")
    else:
        lacking = [name for name in (HEAD, REDUCER) if name not in names]
        if record.adapter.get("adapter_parameters"):
            files = [f"{ADAPTER}/{name}" for name in ADAPTER_FILES]
            lacking += [name for name in files if name not in names]
    return " and ".join(lacking) or None


def _travels(name: str) -> bool:
    """Whether a file of a run is one of those that it takes to predict again."""
    if name in (RUN, HEAD, REDUCER, BACKBONE, REFINEMENT, FEATURES, MODEL, NETWORK):
        return True
    folder, _, last = name.rpartition("/")
    if folder == ADAPTER:
        return last in ADAPTER_FILES
    parent, _, part = folder.partition("/")
    return parent == PARTS and "/" not in part and part != "" and last in (FEATURES, MODEL)


def push(
    folder: str | Path, repo: str, *, private: bool = False, revision: str | None = None
) -> str:
    """Upload a run; the address of its page.

    The token is that of `hf auth login` or HF_TOKEN, the server that of HF_ENDPOINT, as for every
    program that uses `huggingface_hub`.

    Parameters
    ----------
    folder : str or Path
        Of the run.
    repo : str
        NAME/REPOSITORY; it is created where it does not exist.
    private : bool
        Of a repository that is created.
    revision : str, optional
        A branch.

    Raises
    ------
    BundleError
        The folder is no complete run.
    DownloadError
        The server refuses, or cannot be reached.
    """
    folder = Path(folder)
    names = pushed_files(folder)
    with tempfile.TemporaryDirectory(prefix="hyperpeft-hub-") as place:
        stage = Path(place)
        for name in names:
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, stage / name)
        values = json.loads((folder / RUN).read_text(encoding="utf-8"))
        for name in names:
            if name.endswith(".json"):
                text = (folder / name).read_text(encoding="utf-8")
                (stage / name).write_text(without_folders(text, values), encoding="utf-8")
        card = model_card(RunRecord.from_file(stage / RUN), repo)
        (stage / CARD).write_text(card, encoding="utf-8")
        with _hub(repo) as api:
            address = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo, folder_path=stage, revision=revision,
                commit_message=f"Run of {values['adapter']['method']} on {values['scene']['name']}",
            )  # fmt: skip
    return str(address)


def pull(repo: str, folder: str | Path, *, revision: str | None = None) -> RunRecord:
    """Download a run into a new folder; its record.

    Parameters
    ----------
    repo : str
    folder : str or Path
        Must not exist, or be empty.
    revision : str, optional
        A branch, a tag or a commit.

    Raises
    ------
    ConfigError
        The folder holds something.
    BundleError
        What the repository holds is no run.
    DownloadError
        The server refuses, or cannot be reached.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists", hint="choose another --to, or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.part-", dir=folder.parent) as place:
        stage = Path(place) / "run"
        with _hub(repo) as api:
            present = api.list_repo_files(repo, revision=revision)
            wanted = [name for name in present if name == CARD or _travels(name)]
            if RUN not in wanted:
                raise BundleError(
                    f"{repo} holds no run", expected=f"{RUN} and the files of its method",
                    got=", ".join(sorted(present)[:8]) or "nothing",
                )  # fmt: skip
            for name in wanted:
                api.hf_hub_download(repo, name, revision=revision, local_dir=stage)
        shutil.rmtree(stage / ".cache", ignore_errors=True)  # notes of the library on its download
        record = RunRecord.from_file(stage / RUN)
        check_links(stage)
        missing = _missing(record, wanted)
        if missing:
            raise BundleError(f"{repo} holds a run without {missing}")
        check_parts(stage, record)
        if folder.exists():
            folder.rmdir()
        stage.replace(folder)
    return record


def model_card(record: RunRecord, repo: str) -> str:
    """The page of a run: accuracy beside the kind of split and its leakage, classes, use."""
    scene, split, adapter = record.scene, record.split, record.adapter
    leak = (split.get("leakage") or {}).get("test_windows_touching_train")
    reach = "unknown" if leak is None else f"{100 * leak:.0f} % of the test windows"
    scores = " | ".join(_score(record.metrics.get(key)) for key in ("oa", "aa", "kappa"))
    classes = "\n".join(
        f"| {i} | {_cell(name)} | {_score((record.metrics.get('per_class') or {}).get(str(i)))} |"
        for i, name in record.class_names.items()
    )
    is_baseline = adapter["method"] in BASELINES
    what = "A baseline" if is_baseline else "An adapter"
    base = "" if is_baseline else f" on {_cell(record.backbone.get('name') or '')}"
    weights = (
        ""
        if is_baseline
        else (
            f" The base weights have the hash\n`{record.backbone.get('weights_sha256')}` (sha256 "
            "of names and float32 values); others are refused."
        )
    )
    parameters = adapter.get("trainable_parameters")
    count = f"{parameters:,}" if parameters else "unknown"
    return f"""---
library_name: hyperpeft
tags:
- hyperspectral
- remote-sensing
- land-cover
---

# {_cell(scene["name"])}: {adapter["method"]}{base}

{what} that classifies a hyperspectral scene of {scene["shape"][2]} bands into
{len(scene["classes"])} classes. Trained parameters: {count}.

| split | training pixels | hold a training pixel | OA | AA | kappa x 100 |
|---|---:|---:|---:|---:|---:|
| {_cell(split["kind"])} | {split.get("train")} | {reach} | {scores} |

Test windows that hold a training pixel make an accuracy look better than that of a new place.
These are accuracies at the labelled pixels of one scene, not of a map.

| id | class | accuracy % |
|---:|---|---:|
{classes}

```
hyperpeft hub pull {repo} --to runs/pulled
hyperpeft map runs/pulled SCENE.tif --out map.tif
```

The scene must have the same bands.{weights}
"""


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "/").replace("`", "'").replace("<", "(")


@contextmanager
def _hub(repo: str) -> Iterator[Any]:
    """The client, whose many exceptions become one."""
    from huggingface_hub import HfApi, errors  # loads a web client
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        yield HfApi(library_name="hyperpeft")
    except (BundleError, ConfigError):
        raise
    except errors.HFValidationError as problem:
        raise ConfigError(
            f"the repository {repo!r}", expected="NAME/REPOSITORY", got=str(problem)[:160]
        ) from None
    except Exception as problem:  # of the web client, the file system and the hub's answers
        why = " ".join(str(problem).split())[:300] or type(problem).__name__
        raise DownloadError(
            f"{repo} on the hub: {why}",
            hint="check the name, the network, and the token (`hf auth login`)",
        ) from None
