"""Drives the page of blocks with the keyboard in Chromium: 10,000 images, scrolling, decisions, undo, saving.

Needs playwright and a Chromium: python docs/try_blocks_page.py PAGE_FOLDER [CHROMIUM]; or --make FOLDER to make a page of 10,000 images.
"""

import http.server
import json
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np

from jaxface.pipeline.cleaning.sheets import Tile, make_blocks, write_block_page

FRAMES = """async () => {
  const times = []; let last = performance.now(); const end = document.body.scrollHeight - innerHeight; let y = 0;
  await new Promise((done) => { function step(now) { times.push(now - last); last = now; y += 400; scrollTo(0, y); y < end ? requestAnimationFrame(step) : done(); }
    requestAnimationFrame(step); });
  times.sort((a, b) => a - b);
  return {frames: times.length, median: times[times.length >> 1], p95: times[Math.floor(times.length * 0.95)], most: times[times.length - 1],
          tiles: document.querySelectorAll('.tile').length};
}"""


def make(folder: Path) -> None:
  """A page of 10,000 random images of 500 people."""
  generator = np.random.default_rng(0)
  base = generator.integers(0, 256, (200, 12, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)
  tiles = [Tile(f"p{number % 500:03d}/{number}.jpg", f"p{number % 500:03d}", float(generator.random())) for number in range(10_000)]
  write_block_page(folder, "0123456789abcdef" * 4, "ten thousand", make_blocks(tiles), lambda path: base[int(path.split("/")[1][:-4]) % 200])


def main() -> int:
  """Makes a page, or tries one."""
  if sys.argv[1] == "--make":
    make(Path(sys.argv[2]))
    return 0
  from playwright.sync_api import sync_playwright

  folder = Path(sys.argv[1]).resolve()
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(http.server.SimpleHTTPRequestHandler, directory=str(folder)))
  threading.Thread(target=server.serve_forever, daemon=True).start()
  with sync_playwright() as api:
    browser = api.chromium.launch(executable_path=sys.argv[2] if len(sys.argv) > 2 else None, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1680, "height": 1000})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and "favicon" not in message.text and problems.append(message.text))
    page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
    page.wait_for_selector(".tile.here")
    press, keyboard = page.keyboard.press, page.keyboard
    del keyboard
    press("ArrowRight")
    press("Space")  # reject the second image
    press("ArrowDown")
    press("Space")  # and the one below it
    press("u")  # not that
    press("a")  # accept the others of the block; goes to the next
    press("r")  # reject all of the second block
    press("Control+z")
    press("e")
    with page.expect_download() as given:
      press("s")
    saved = json.loads(Path(given.value.path()).read_text())
    values = list(saved["decisions"].values())
    print(f"saved: {len(values)} decisions, {values.count('reject')} rejected, run {saved['run'][:16]}; {page.inner_text('#status')}")
    page.reload()
    page.wait_for_selector(".tile.here")
    press("ArrowRight")
    print(f"after a reload: {page.inner_text('#status')}")
    print("scrolling through all:", page.evaluate(FRAMES))
    page.screenshot(path=str(folder.parent / "blocks.png"))
    print("errors:", problems)
    browser.close()
  return int(bool(problems))


if __name__ == "__main__":
  sys.exit(main())
