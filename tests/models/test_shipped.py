"""The weights that come with the package: what they are, and what they never saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hyperpeft.models import SHIPPED, SIZES, image_size_of, load_backbone, weights_sha256
from hyperpeft.pretraining.config import PretrainConfig
from hyperpeft.scenes import CARDS
from hyperpeft.system.files import sha256_of

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def record_of(name: str) -> dict:
    return json.loads((SHIPPED / f"{name}.json").read_text())


def test_tiny_is_shipped():
    assert "tiny" in NAMES
    assert set(NAMES) <= set(SIZES)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_the_one_of_its_record(name):
    path, record = SHIPPED / f"{name}.safetensors", record_of(name)
    assert path.stat().st_size < 8e6
    assert sha256_of(path) == record["backbone"]["file_sha256"]
    model = load_backbone(name, record["backbone"]["image_size"])
    assert model.pretrained
    assert weights_sha256(model.state_dict()) == record["backbone"]["weights_sha256"]
    assert image_size_of(name) == record["backbone"]["image_size"]
    card = (SHIPPED / f"{name}.md").read_text()
    assert record["backbone"]["file_sha256"] in card
    assert f"{record['windows']:,}" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_configuration_in_the_repository(name):
    values = yaml.safe_load((ROOT / "configs" / f"pretrain-{name}.yaml").read_text())
    assert PretrainConfig(**values).model_dump(mode="json") == record_of(name)["config"]
    assert record_of(name)["environment"]["dirty"] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_scene_that_is_evaluated_was_pretrained_on(name):
    """Neither a benchmark's card nor a scene of a shipped benchmark is among the sources."""
    sources = {source["name"].lower() for source in record_of(name)["sources"]}
    evaluated = {f.lower() for card in CARDS.values() for file in card.files for f in file.names}
    for path in (ROOT / "src" / "hyperpeft" / "configs").glob("*.yaml"):
        for label, own in (yaml.safe_load(path.read_text())["scenes"] or {}).items():
            evaluated |= {label, Path((own or {}).get("scene", label)).name.lower()}
    assert len(evaluated) > 15
    assert not sources & evaluated


def test_from_scratch_is_still_to_be_had():
    trained, scratch = load_backbone("tiny"), load_backbone("tiny", pretrained=False)
    assert trained.pretrained
    assert not scratch.pretrained
    assert weights_sha256(trained.state_dict()) != weights_sha256(scratch.state_dict())
    assert trained.image_size == scratch.image_size == 32
