"""A bucket of Google Cloud Storage that is a folder: what TensorStore asks it over HTTP, and what etils asks it through gcsfs.

TensorStore's own driver for gs:// is at work here, against a server of this process (TENSORSTORE_GCS_HTTP_URL). etils is given a
backend that looks into the server's folder, in the place of gcsfs.
"""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from etils.epath import backend


class Objects(BaseHTTPRequestHandler):
  """The JSON API's reads, writes, listings and deletions, with conditions on generations."""

  protocol_version = "HTTP/1.1"
  root: Path
  lock = threading.Lock()

  def log_message(self, *_):
    pass

  def _answer(self, code, body=b"", **headers):
    self.send_response(code)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def _place(self):
    """Path of the bucket, name of the object (None for the bucket itself), and the query."""
    url = urlparse(self.path)
    bucket, _, name = url.path.split("/b/")[1].partition("/o")
    return self.root / bucket, unquote(name[1:]) or None, {key: value[0] for key, value in parse_qs(url.query).items()}

  def _facts(self, bucket, name):
    path = bucket / name
    return {"name": name, "size": str(path.stat().st_size), "generation": self._generation(path)}

  def _generation(self, path):
    return str(path.stat().st_mtime_ns) if path.is_file() else "0"

  def do_POST(self):
    bucket, _, query = self._place()
    body, path = self.rfile.read(int(self.headers["Content-Length"])), bucket / query["name"]
    with self.lock:
      if query.get("ifGenerationMatch") not in (None, self._generation(path)):
        return self._answer(412)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(body)
      return self._answer(200, json.dumps(self._facts(bucket, query["name"])).encode())

  def do_GET(self):
    bucket, name, query = self._place()
    if name is None:
      names = sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())
      low, high = query.get("startOffset", ""), query.get("endOffset", "\U0010ffff")
      chosen = [each for each in names if each.startswith(query.get("prefix", "")) and low <= each < high]
      return self._answer(200, json.dumps({"items": [self._facts(bucket, each) for each in chosen]}).encode())
    path = bucket / name
    if not path.is_file():
      return self._answer(404)
    content, generation = path.read_bytes(), self._generation(path)
    if query.get("ifGenerationNotMatch") == generation:
      return self._answer(304, x_goog_generation=generation)
    first, last, code, more = 0, len(content) - 1, 200, {}
    if wanted := self.headers.get("Range"):
      low, _, high = wanted.removeprefix("bytes=").partition("-")
      first, last = (int(low), min(last, int(high or last))) if low else (len(content) - int(high), last)
      code, more = 206, {"Content_Range": f"bytes {first}-{last}/{len(content)}"}
    return self._answer(code, content[first : last + 1], x_goog_generation=generation, **more)

  def do_DELETE(self):
    bucket, name, _ = self._place()
    (bucket / name).unlink(missing_ok=True)
    self._answer(204)


def in_folder(root):
  """An etils backend for gs:// whose buckets are the folders of `root`."""

  def here(value):
    return str(root / str(value).removeprefix("gs://")) if isinstance(value, (str, os.PathLike)) and str(value).startswith("gs:") else value

  def there(path):
    return f"gs://{Path(path).relative_to(root)}"

  class Folder(type(backend.os_backend)):
    def glob(self, path):
      return [there(each) for each in super().glob(here(path))]

    def walk(self, top, **options):
      for place, folders, files in super().walk(here(top), **options):
        yield there(place), folders, files

  for name in ("open", "exists", "isdir", "listdir", "makedirs", "mkdir", "rmtree", "remove", "rename", "replace", "copy", "stat"):
    real = getattr(type(backend.os_backend), name)

    def translated(self, *arguments, real=real, **options):
      return real(self, *map(here, arguments), **options)

    setattr(Folder, name, translated)
  return Folder()


def serve(root):
  """The server; `server_port` says where."""
  server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Objects,), {"root": root}))
  threading.Thread(target=server.serve_forever, daemon=True).start()
  return server
