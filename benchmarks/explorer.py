"""How fast the explorer opens and moves on a scene of 14 GB, and how much memory it takes.

    python benchmarks/explorer.py --out benchmarks/records/explorer.json

A sparse ENVI file of 6000 x 6000 pixels, 200 bands and 16 bits in each interleave, in a fresh
process each: seconds until the page is made with its first picture, seconds of 30 views at five
scales, peak memory. The file holds zeros and takes no space; reading it costs what reading from
the system's cache costs, not what a disk does. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDE, BANDS, VIEWS = 6000, 200, 30
SCALES = (6.0, 3.0, 1.5, 1.0, 0.3)  # pixels of the scene per pixel of the screen


def write(folder: Path, interleave: str) -> Path:
    path = folder / f"{interleave}.dat"
    with path.open("wb") as file:
        file.truncate(SIDE * SIDE * BANDS * 2)
    centres = ", ".join(str(400 + 10 * i) for i in range(BANDS))
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {SIDE}\nlines = {SIDE}\nbands = {BANDS}\nheader offset = 0\n"
        f"data type = 2\ninterleave = {interleave}\nbyte order = 0\nwavelength units = nm\n"
        f"wavelength = {{{centres}}}\n"
        "map info = {UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84}\n"
    )
    return path


def measure(path: Path) -> dict[str, Any]:
    import numpy as np

    start = time.monotonic()
    from hyperpeft.explorer import Explorer
    from hyperpeft.explorer.page import Page

    imported = time.monotonic()
    explorer = Explorer(str(path), folder=path.parent)
    page = Page(explorer)
    opened = time.monotonic()
    random, seconds = np.random.default_rng(0), []
    for view in range(VIEWS):
        scale = SCALES[view % len(SCALES)]
        x, y = random.uniform(0.2 * SIDE, 0.8 * SIDE, 2)
        begun = time.monotonic()
        page.map._look(float(x), float(y), scale)
        seconds.append(time.monotonic() - begun)
    clicked = time.monotonic()
    page.look.pick(SIDE / 2, SIDE / 2)
    spectrum = time.monotonic() - clicked
    explorer.close()
    return {
        "import_s": round(imported - start, 2), "open_s": round(opened - imported, 2),
        "view_median_s": round(float(np.median(seconds)), 3), "view_max_s": round(max(seconds), 3),
        "spectrum_s": round(spectrum, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "cpu_s": round(time.process_time(), 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.one)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for interleave in ("bsq", "bil", "bip"):
            path = write(Path(folder), interleave)
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(path)], capture_output=True, text=True,
                check=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
            )  # fmt: skip
            found[interleave] = json.loads(done.stdout.splitlines()[-1])
            print(interleave, found[interleave], flush=True)
    if given.out is not None:
        record = {"what": __doc__.splitlines()[0], "shape": [SIDE, SIDE, BANDS],
                  "load_average": os.getloadavg()[0], "processors": os.cpu_count(),
                  "found": found}  # fmt: skip
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
