"""YAML from anyone: plain values only, and no more of them than a configuration has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from hyperpeft.errors import ConfigError

LARGEST = 1_000_000  # characters
DEEPEST = 64  # brackets in each other: deep nesting costs the square of its depth
LONGEST_NUMBER = 100  # digits: Python does not print one of thousands
MOST_VALUES = 100_000  # once aliases have been put in


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; its tags cannot name code.

    Raises
    ------
    ConfigError
        Missing, no YAML, too large, nested without end, or growing without bound by aliases.
    """
    try:
        size = path.stat().st_size
        if path.is_file() and size > 4 * LARGEST:
            raise ConfigError(
                f"configuration {path}", expected=f"at most {LARGEST} characters of YAML", got=size
            )
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"configuration {path} is not YAML ({why})") from None


def parse(text: str) -> Any:
    """Plain values of YAML text.

    Raises
    ------
    yaml.YAMLError
        Whatever is wrong with it.
    """
    if len(text) > LARGEST or _depth(text) > DEEPEST:
        raise yaml.YAMLError(f"more than {LARGEST} characters, or nested over {DEEPEST} deep")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES} values")
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except Exception as problem:  # of what looks like a date or a number and is none; recursion
        raise yaml.YAMLError(f"{type(problem).__name__}: {problem}") from None
    finally:
        loader.dispose()


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _values(node: Node, known: dict[int, int]) -> int:
    """How many values a node stands for; an alias is the very node that it names."""
    if isinstance(node, ScalarNode):
        if node.tag.endswith(":int") and len(node.value) > LONGEST_NUMBER:
            raise yaml.YAMLError(f"a number of more than {LONGEST_NUMBER} digits")
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # until it is counted: a node that holds itself
        pairs = isinstance(node, MappingNode)
        inner = [n for pair in node.value for n in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_values(child, known) for child in inner)
    return known[id(node)]
