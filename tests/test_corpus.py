"""Each case of bad input ends with status 2 and one message, and leaves no file behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.corpus.cases import DOCUMENT, all_cases, make_home, ours, plain, play, read, row
from tests.helpers.small import PROGRAM

CASES = all_cases()


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def documented():
    return read(DOCUMENT)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_is_refused(case, home, tmp_path, documented):
    played, _ = play(case, home, tmp_path / "c")
    errors = [line for line in played.err if line.startswith("error: ")]
    said = "\n".join(played.err)
    assert played.status == 2, said
    assert len(errors) == 1, said
    assert played.err[-1] == errors[0], said  # nothing follows, and it is one line
    assert "Traceback" not in said
    assert played.noise == ""
    assert played.out == ""
    message = errors[0].removeprefix("error: ")
    missing = [words for words in case.says if words not in message]
    assert not missing, message
    assert played.changed == []
    # `python -m tests.corpus` writes the table again.
    assert ours(documented.get(case.title, "")) == ours(row(plain(message, home, tmp_path / "c")))


def test_the_document_has_these_cases_and_no_others(documented):
    assert list(documented) == [case.title for case in CASES]
    assert len({case.title for case in CASES}) == len(CASES) >= 120


@pytest.mark.parametrize(
    "title", ["MATLAB: v5 cut short", "run folders: run.json cut short", "YAML: a Python tag"]
)
def test_a_process_of_its_own_says_the_same(title, home, tmp_path, documented):
    case = next(case for case in CASES if case.title == title)
    folder = tmp_path / "c"
    _, words = play(case, home, folder)
    done = subprocess.run(
        [*PROGRAM, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    said = row(plain(last.removeprefix("error: "), home, folder))
    assert ours(said) == ours(documented[title])
    assert sys.executable not in done.stderr  # no traceback's paths
