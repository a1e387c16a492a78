"""A headless Chromium that tests drive through its debugging pipe (DevTools protocol), without further packages."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Chromium reads commands from file descriptor 3 and writes answers to 4.
START = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
  """Path of a Chromium: of JAXFACE_CHROMIUM, on the PATH, or of Playwright; None if there is none."""
  given = os.environ.get("JAXFACE_CHROMIUM")
  found = [given] if given else [path for name in NAMES if (path := shutil.which(name))]
  found += [str(path) for path in sorted(Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome"))]
  return found[0] if found else None


class Browser:
  """One page in a headless browser. Everything that goes wrong in it is in `faults`, every request in `requests`."""

  def __init__(self, path: str, profile: Path, seconds: float = 60.0):
    self._seconds, self._number, self._rest = seconds, 0, b""
    read, self._write = os.pipe()
    self._read, write = os.pipe()
    command = [
      path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}",
      "--no-first-run", "--disable-extensions", "--disable-background-networking", "about:blank",
    ]
    self._process = subprocess.Popen(
      [sys.executable, "-c", START, str(read), str(write), *command], pass_fds=(read, write), stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(read)
    os.close(write)
    self._session = ""
    self.faults: list[str] = []
    self.requests: list[str] = []
    self._loaded = False
    target = self.send("Target.createTarget", url="about:blank")["targetId"]
    self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.send(f"{domain}.enable")

  def send(self, method: str, **parameters: Any) -> dict[str, Any]:
    """Sends a command and returns its answer."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": parameters, **({"sessionId": self._session} if self._session else {})}
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._next()
      if answer.get("id") == self._number:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

  def open(self, path: Path) -> None:
    """Opens a file and waits until it has loaded."""
    self._loaded = False
    self.send("Page.navigate", url=path.resolve().as_uri())
    while not self._loaded:
      self._next()

  def run(self, script: str) -> Any:
    """Value of a JavaScript expression."""
    found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
    if "exceptionDetails" in found:
      raise RuntimeError(f"{script}: {found['exceptionDetails']}")
    return found["result"].get("value")

  def view(self, width: int, height: int, *, dark: bool = False, media: str = "screen") -> None:
    """Sets the size of the window in CSS pixels, the colour scheme and the medium."""
    self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])

  def pointer(self, x: float, y: float) -> None:
    """Moves the pointer to a place in the window."""
    self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

  def key(self, name: str) -> None:
    """Presses a key, such as "ArrowRight"."""
    code = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}[name]
    for kind in ("keyDown", "keyUp"):
      self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

  def picture(self, path: Path) -> None:
    """Writes a PNG of the whole page."""
    path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

  def pdf(self) -> bytes:
    """The printed page."""
    return base64.b64decode(self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

  def close(self) -> None:
    """Ends the browser."""
    os.close(self._write)
    try:
      self._process.wait(10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait(10)
    os.close(self._read)

  def _next(self) -> dict[str, Any]:
    """The next message; keeps faults and requests."""
    end = time.monotonic() + self._seconds
    while b"\0" not in self._rest:
      ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
      part = os.read(self._read, 1 << 20) if ready else b""
      if not part:
        raise RuntimeError(f"the browser {'ended' if ready else f'gave no answer in {self._seconds:g} s'}")
      self._rest += part
    one, self._rest = self._rest.split(b"\0", 1)
    message = json.loads(one)
    method, content = message.get("method"), message.get("params", {})
    if method == "Page.loadEventFired":
      self._loaded = True
    elif method == "Runtime.exceptionThrown":
      self.faults.append(str(content["exceptionDetails"]))
    elif method == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
      self.faults.append(content["entry"]["text"])
    elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
      self.faults.append(str(content["args"]))
    elif method == "Network.requestWillBeSent":
      self.requests.append(content["request"]["url"])
    return message
