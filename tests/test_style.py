"""The tree is clean under linter, formatter and type checker, small, and in plain English."""

from __future__ import annotations

import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAIN = {  # metaphors and phrases that readers of the field do not expect, and what to write
    r"\bhouse\b|(?<!make )\brooms?\b|\bfloors\b": "package, module, layer",
    r"\bgo(es)? on\b": "resumes, continues",
    r"\banew\b": "again",
    r"\basked of (its|the) training pixels\b": "selected by cross-validation",
    r"\bwhoever\b": "the caller, the process, the reader",
    r"\breckon\b": "finite",
    r"\bthat cannot be\b(?= *([.,;:]|$))": "invalid",
    r"\bare no (vectors|numbers|arrays|wavelengths)\b": "are not",
    r"\bwhat hyperpeft does not have\b": "unsupported settings",
    r"\bstrangers?\b": "untrusted",
}


@pytest.mark.parametrize(
    "tool", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_clean(tool):
    result = subprocess.run(
        [sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_repository_is_no_archive():
    """Records of runs are packed, one file a study: `hyperpeft report FOLDER --pack FILE`."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git repository")
    assert len(listed.stdout.splitlines()) <= 450


def texts() -> Iterator[tuple[str, str]]:
    """Where, and a piece of prose: documents, and the comments and strings of the package."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for path in [*pages, *(ROOT / "src").rglob("*.j2"), *(ROOT / "src").rglob("*.yaml")]:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    prose = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for path in (ROOT / "src").rglob("*.py"):
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type in prose:
                    yield f"{path.relative_to(ROOT)}:{token.start[0]}", token.string


def unplain(text: str) -> list[str]:
    """What a text says in other words than it should."""
    flat = " ".join(text.split())
    return [
        f"{found[0]!r}: write {instead}"
        for pattern, instead in PLAIN.items()
        for found in re.finditer(pattern, flat, re.IGNORECASE)
    ]


def test_plain_english():
    assert [f"{where}: {words}" for where, text in texts() for words in unplain(text)] == []


def test_the_check_of_english_sees_what_it_must():
    text = "The room\nthat whoever goes\non from it finds: a step that cannot be. Make room."
    assert len(unplain(text)) == 4
    assert unplain("Free space, or make room; a file that cannot be read; houses") == []


def test_paths_in_documents_exist():
    """Files of this repository that a document names in code."""
    named = re.compile(r"`((?:src|tests|tools|benchmarks|docs|examples)/[\w./-]+)`")
    missing = [
        f"{where}: {path}"
        for where, text in texts()
        for path in named.findall(text)
        if not (ROOT / path).exists()
    ]
    assert missing == []
