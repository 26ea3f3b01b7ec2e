"""`python -m tests.corpus`: play the cases and write their rows of docs/reference/bad-input.md."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path

from tests.corpus.cases import DOCUMENT, all_cases, make_home, plain, play, read, text


def main() -> None:
    """Words on the command line choose the cases whose titles hold one of them."""
    wanted = sys.argv[1:]
    cases, messages, wrong = all_cases(), {}, 0
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder) / "home")
        for number, case in enumerate(cases):
            if wanted and not any(word in case.title for word in wanted):
                continue
            place = Path(folder) / f"c{number}"
            try:
                played, _ = play(case, home, place)
            except Exception:
                wrong += 1
                print(f"!! {case.title}\n{traceback.format_exc(limit=-4)}")
                continue
            last = played.err[-1] if played.err else ""
            message = plain(last.removeprefix("error: "), home, place)
            missing = [words for words in case.says if words not in message]
            bad = (
                played.status != 2 or missing or played.changed or played.noise or played.out
                or sum(line.startswith("error: ") for line in played.err) != 1
                or not last.startswith("error: ")
            )  # fmt: skip
            wrong += bool(bad)
            mark = "!!" if bad else "  "
            print(f"{mark} {case.title}\n     {message}")
            if bad:
                print(f"     status {played.status}, missing {missing}, changed {played.changed}")
                print(f"     noise {played.noise[:300]!r} out {played.out[:200]!r}")
            messages[case.title] = message
    print(f"{len(messages)} cases, {wrong} of them not as they should be")
    if not wrong:
        known = {**read(DOCUMENT), **messages}
        rows = {case.title: known[case.title] for case in cases if case.title in known}
        DOCUMENT.write_text(text(rows), encoding="utf-8")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
