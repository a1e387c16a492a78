"""Files at a URL in blocks: a few large requests instead of one for each record, for reading that goes through a file in order."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

BLOCK_BYTES = 4 * 2**20
# Requests at once, and blocks after a missing one that are requested with it.
REQUESTS, AHEAD = 16, 2

Read = Callable[[slice], bytes]


class BlockCache:
  """The blocks that were used last, of any number of files, for any number of threads. A block is requested once by all of them.

  Args:
    memory: bytes of all blocks together; at least that of `AHEAD` + 2 blocks.
    block_bytes: size of a block.
  Attributes:
    requests: number of blocks that were requested.
  """

  def __init__(self, memory: int, block_bytes: int = BLOCK_BYTES):
    self.block_bytes = block_bytes
    self.capacity = max(memory // block_bytes, AHEAD + 2)
    self.requests = 0
    self._blocks: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()
    self._lock = threading.Lock()
    self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="jaxface-blocks")

  def block(self, file: str, number: int, last: int, read: Read) -> bytes:
    """A block, and begins to request those after it.

    Args:
      file: name of the file.
      number: of the block.
      last: number of the file's last block.
      read: reads a span of the file.
    Raises:
      OSError: the place cannot be reached; the next call tries again.
    """
    with self._lock:
      if (file, number) not in self._blocks:
        for ahead in range(min(number + AHEAD, last), number, -1):
          self._request(file, ahead, read)
        self._request(file, number, read)
      self._blocks.move_to_end((file, number))
      future = self._blocks[file, number]
      while len(self._blocks) > self.capacity:
        self._blocks.popitem(last=False)  # not cancelled: another thread may wait for it
    try:
      return future.result()
    except BaseException:
      with self._lock:
        if self._blocks.get((file, number)) is future:
          del self._blocks[file, number]
      raise

  def _request(self, file: str, number: int, read: Read) -> None:
    if (file, number) not in self._blocks:
      self.requests += 1
      span = slice(number * self.block_bytes, (number + 1) * self.block_bytes)
      self._blocks[file, number] = self._pool.submit(read, span)


class BlockFile:
  """A file of which slices are taken from blocks.

  Args:
    name: of the file, unique in the cache.
    size: bytes of the file.
    read: reads a span of it; fewer bytes where the file ends.
    cache: of the blocks.
  """

  def __init__(self, name: str, size: int, read: Read, cache: BlockCache):
    self._name, self._size, self._read, self._cache = name, size, read, cache

  def __getitem__(self, span: slice) -> bytes:
    """The bytes of a span; fewer where the file ends."""
    each = self._cache.block_bytes
    start, stop = span.start, min(span.stop, self._size)
    if start >= stop:
      return b""
    first, final = start // each, (stop - 1) // each
    last = (self._size - 1) // each
    found = b"".join(self._cache.block(self._name, number, last, self._read) for number in range(first, final + 1))
    return found[start - first * each : stop - first * each]


__all__ = ["AHEAD", "BLOCK_BYTES", "REQUESTS", "BlockCache", "BlockFile"]
