"""Serve an exported model over HTTP: ONNX Runtime computes, FastAPI answers.

  jaxface export --model runs/mine --normalize --mirror sum --out face.onnx
  pip install 'jaxface[serve]'
  python examples/serving/serve.py face.onnx --threshold 0.35 --port 8000
  curl -F photo=@ann.jpg localhost:8000/embed
  curl -F first=@ann.jpg -F second=@bob.jpg localhost:8000/compare

POST /embed takes a photo and answers with its embedding, POST /compare takes two and answers with their cosine, and whether it reaches the
threshold. GET /health says which model is served. Photos are aligned faces; with --align a face is found in each photo first, by jaxface
(extra `detect`). Requests that arrive together are computed together. For use behind a proxy, which adds encryption and access control.
"""

import argparse
import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, UploadFile

from jaxface.formats import DamagedData, decode_image
from jaxface.formats.manifest import UNKNOWN_TEMPLATES

LARGEST = 10 << 20  # bytes of a photo
PIXELS = 25_000_000
TOGETHER = 32  # photos of a batch
WAIT = 0.002  # seconds for which a batch waits for further photos


class Embedder:
  """A model in ONNX Runtime, and one thread that computes what has been asked for, in batches of images of one size.

  Args:
    file: an ONNX file of `jaxface export`.
    threads: threads of ONNX Runtime; 0 for one per core.
  """

  def __init__(self, file: str | Path, threads: int = 0):
    data = Path(file).read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    self.metadata = self._session.get_modelmeta().custom_metadata_map
    self.sha256 = hashlib.sha256(data).hexdigest()
    self.template = self.metadata.get("jaxface.template", "")
    self._asked: asyncio.Queue[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = asyncio.Queue()
    self._thread = ThreadPoolExecutor(1, "embed")

  async def embed(self, image_hwc: np.ndarray) -> np.ndarray:
    """[D] float32 of length one, of an image [H, W, 3] uint8."""
    answer = asyncio.get_running_loop().create_future()
    await self._asked.put((image_hwc, answer))
    return await answer

  async def work(self) -> None:
    """Answers until it is cancelled."""
    while True:
      batch = [await self._asked.get()]
      # A lone photo waits for a moment only: photos that come together cost less.
      until = asyncio.get_running_loop().time() + WAIT
      while len(batch) < TOGETHER:
        try:
          async with asyncio.timeout_at(until):
            batch.append(await self._asked.get())
        except TimeoutError:
          break
      for shape in {image.shape for image, _ in batch}:
        group = [(image, answer) for image, answer in batch if image.shape == shape]
        await self._answer(np.stack([image for image, _ in group]), [answer for _, answer in group])

  async def _answer(self, image_bhwc: np.ndarray, answers: list["asyncio.Future[np.ndarray]"]) -> None:
    try:
      embedding_bd = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, image_bhwc)
    except Exception as error:  # an image that is too small for the model, for example
      for answer in answers:
        if not answer.done():
          answer.set_exception(HTTPException(422, f"the model takes no image of {image_bhwc.shape[1]}x{image_bhwc.shape[2]} pixels: {error}"))
      return
    for answer, embedding_d in zip(answers, embedding_bd):
      if not answer.done():  # its client is gone
        answer.set_result(embedding_d)

  def _compute(self, image_bhwc: np.ndarray) -> np.ndarray:
    embedding_bd = self._session.run(["embedding"], {"image": image_bhwc})[0]
    return embedding_bd / np.linalg.norm(embedding_bd, axis=1, keepdims=True)


async def read_photo(upload: UploadFile) -> np.ndarray:
  """The pixels [H, W, 3] uint8 of an upload; what is too large or no image is refused."""
  data = await upload.read(LARGEST + 1)
  if len(data) > LARGEST:
    raise HTTPException(413, f"{upload.filename}: more than {LARGEST >> 20} MB")
  try:
    return await asyncio.to_thread(decode_image, data, where=upload.filename or "photo", max_pixels=PIXELS)
  except DamagedData as error:
    raise HTTPException(400, str(error)) from error


@cache
def detector() -> Any:
  """The detector, loaded once."""
  from jaxface.detection import load_detector

  return load_detector()


def aligned(image_hwc: np.ndarray, template: str) -> np.ndarray:
  """The main face of a photo, aligned to a template."""
  from PIL import Image

  from jaxface.pipeline import find_faces

  with tempfile.TemporaryDirectory() as folder:
    Image.fromarray(image_hwc).save(file := Path(folder) / "photo.png")
    (found,) = find_faces([file], template=template, detector=detector())
  if not found.faces:
    raise HTTPException(422, "no face was found in the photo")
  return found.faces[0].image_hwc


def make_app(model: str | Path, *, threshold: float | None = None, align: bool = False, threads: int = 0) -> FastAPI:
  """The application.

  Args:
    model: an ONNX file of `jaxface export`.
    threshold: least cosine of two photos of one person; None does not decide.
    align: find and align a face in each photo first.
    threads: threads of ONNX Runtime; 0 for one per core.
  """
  embedder = Embedder(model, threads)
  if align and embedder.template in UNKNOWN_TEMPLATES:
    raise ValueError(f"{model} does not say to which template its faces are aligned: export it again with a known template")

  @asynccontextmanager
  async def life(_: FastAPI) -> AsyncIterator[None]:
    worker = asyncio.create_task(embedder.work())
    yield
    worker.cancel()

  app = FastAPI(title="jaxface", lifespan=life)

  async def embedding_of(upload: UploadFile) -> np.ndarray:
    image_hwc = await read_photo(upload)
    if align:
      image_hwc = await asyncio.to_thread(aligned, image_hwc, embedder.template)
    return await embedder.embed(image_hwc)

  @app.get("/health")
  async def health() -> dict[str, Any]:
    said = embedder.metadata
    return {"model": said.get("jaxface.model", ""), "sha256": embedder.sha256, "template": embedder.template,
            "size": json.loads(said.get("jaxface.size", "null")), "licence": said.get("jaxface.licence", "unknown")}

  @app.post("/embed")
  async def embed(photo: UploadFile) -> dict[str, Any]:
    return {"embedding": (await embedding_of(photo)).tolist(), "model_sha256": embedder.sha256}

  @app.post("/compare")
  async def compare(first: UploadFile, second: UploadFile) -> dict[str, Any]:
    one_d, other_d = await asyncio.gather(embedding_of(first), embedding_of(second))
    cosine = float(one_d @ other_d)
    decision = {} if threshold is None else {"same": cosine >= threshold, "threshold": threshold}
    return {"cosine": cosine, **decision, "model_sha256": embedder.sha256}

  return app


def main() -> None:
  import uvicorn

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("model", help="ONNX file of jaxface export")
  parser.add_argument("--threshold", type=float, help="least cosine of two photos of one person (jaxface threshold measures it)")
  parser.add_argument("--align", action="store_true", help="find and align a face in each photo first")
  parser.add_argument("--host", default="127.0.0.1")
  parser.add_argument("--port", type=int, default=8000)
  parser.add_argument("--threads", type=int, default=0, help="threads of ONNX Runtime (default: one per core)")
  options = parser.parse_args()
  uvicorn.run(
    make_app(options.model, threshold=options.threshold, align=options.align, threads=options.threads), host=options.host, port=options.port,
    log_level="warning",
  )


if __name__ == "__main__":
  main()
