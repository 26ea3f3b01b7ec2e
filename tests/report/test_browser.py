"""The page in a real browser, without a screen: nothing on the console, nothing out of sight."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from hyperpeft.report import write_report
from tests.helpers.records import write_bench

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = (390, 1440)
# In the page: open everything, then say how wide it is and what is not to be seen.
PROBE = """<script>addEventListener('load', async () => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  const images = [...document.querySelectorAll('img')];
  images.forEach(i => { i.loading = 'eager'; });
  await Promise.all(images.map(i => i.decode().catch(() => 0)));
  const hidden = [...document.querySelectorAll('svg, img, table')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width < 50 || box.height < 20 || (e.tagName === 'IMG' && !e.naturalWidth);
  });
  const small = [...document.querySelectorAll('svg text')].filter(
    e => { const m = e.getScreenCTM();
      return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(m.a, m.b) < 9; });
  parent.postMessage({width: innerWidth, needs: document.documentElement.scrollWidth,
    figures: document.querySelectorAll('svg').length, images: images.length,
    hidden: hidden.length, small: small.length}, '*');
});</script>"""
FRAMES = """<!doctype html><link rel="icon" href="data:,"><body><pre id="out"></pre><script>
const found = [];
addEventListener('message', e => { found.push(e.data);
  document.getElementById('out').textContent = JSON.stringify(found); });
</script>%s</body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome: install one to check the page")
def test_the_page_in_a_browser(tmp_path):
    scenes = ("salinas-a", "indian-pines-10band", "enmap-potsdam")
    means = {
        method: {scene: 80.0 + i + j for i, scene in enumerate(scenes)}
        for j, method in enumerate(("krona+", "full", "probe", "svm"))
    }
    write_bench(tmp_path, means, budgets=(5, 10))
    text = write_report(tmp_path, tmp_path / "out")[0].read_text()
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
        for width in WIDTHS
    )
    (tmp_path / "frames.html").write_text(FRAMES % frames)
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
            "--window-size=2000,1200", "--dump-dom", (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert console == []
    found = json.loads(unescape(re.search(r'<pre id="out">(.*?)</pre>', done.stdout)[1]))
    assert sorted(page["width"] for page in found) == list(WIDTHS)
    for page in found:
        assert page["needs"] <= page["width"], page  # nothing to scroll sideways for
        assert page["figures"] > 20
        assert page["images"] == 2 * 2 * len(scenes) * len(means)
        assert (page["hidden"], page["small"]) == (0, 0), page
