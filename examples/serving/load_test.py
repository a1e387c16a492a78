"""Send photos to a running serve.py from several clients at once, and print how many it answers per second, and how fast.

  python examples/serving/load_test.py http://localhost:8000 FACES --clients 16 --requests 2000

Each client sends the next photo when the last one is answered. The first requests, one per client, are not counted.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from jaxface.formats.images import IMAGE_SUFFIXES


async def load(url: str, photos: Sequence[bytes], *, clients: int, requests: int, transport: httpx.AsyncBaseTransport | None = None) -> dict[str, float]:
  """Send `requests` photos to /embed.

  Args:
    url: of the service.
    photos: image files, sent in turn.
    clients: requests at a time.
    requests: number of photos to send.
    transport: how to reach the service, for tests; by default the network.
  Returns:
    requests, failed, per_second; median_ms, p95_ms and p99_ms of those that were answered.
  """
  seconds: list[float] = []
  failed = 0
  left = iter(range(requests))

  async def client(session: httpx.AsyncClient) -> None:
    nonlocal failed
    for number in left:
      began = time.perf_counter()
      try:
        answer = await session.post("/embed", files={"photo": ("photo.jpg", photos[number % len(photos)])})
      except httpx.HTTPError:
        failed += 1
        continue
      failed += answer.status_code != 200
      if answer.status_code == 200:
        seconds.append(time.perf_counter() - began)

  limits = httpx.Limits(max_connections=clients)
  async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, transport=transport) as session:
    (await session.get("/health")).raise_for_status()
    await asyncio.gather(*(session.post("/embed", files={"photo": ("photo.jpg", photos[0])}) for _ in range(clients)))
    began = time.perf_counter()
    await asyncio.gather(*(client(session) for _ in range(clients)))
    passed = time.perf_counter() - began
  median, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000 if seconds else (float("nan"),) * 3
  return {"requests": requests, "failed": failed, "per_second": len(seconds) / passed, "median_ms": median, "p95_ms": p95, "p99_ms": p99}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("url")
  parser.add_argument("faces", help="folder of aligned faces")
  parser.add_argument("--clients", type=int, default=16, metavar="N")
  parser.add_argument("--requests", type=int, default=2000, metavar="N")
  options = parser.parse_args()
  files = sorted(file for file in Path(options.faces).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
  if not files:
    parser.error(f"{options.faces}: no images below this folder")
  photos = [file.read_bytes() for file in files[: options.requests]]
  found = asyncio.run(load(options.url, photos, clients=options.clients, requests=options.requests))
  print(
    f"{options.clients} clients: {found['per_second']:,.1f} photos/s, median {found['median_ms']:.1f} ms, 95 % in {found['p95_ms']:.1f} ms,"
    f" 99 % in {found['p99_ms']:.1f} ms; {found['failed']:.0f} of {found['requests']:,.0f} failed"
  )


if __name__ == "__main__":
  main()
