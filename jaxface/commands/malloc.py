"""Settings of glibc's allocator for large temporary arrays: on a CPU, page faults can cost more than a convolution.

By default glibc returns every array above 32 MB to the kernel when it is freed, and the kernel zeroes the pages of the next
allocation. The settings below keep freed memory, in huge pages. glibc reads them when a process starts, so the process
re-executes itself, with the same process id and arguments.
"""

import os
import sys
from collections.abc import Sequence

# One arena: XLA allocates on its own threads, and in their arenas large arrays are mapped and unmapped whatever the
# threshold is. This doubled the time of a step of iresnet18 after another program had run.
TUNABLES = (
  "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000:glibc.malloc.arena_max=1"
)


def keep_memory(arguments: Sequence[str]) -> None:
  """Re-execute `jaxface ARGUMENTS` with the settings, unless GLIBC_TUNABLES is set already or this is not Linux."""
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
    return
  environment = os.environ | {"GLIBC_TUNABLES": TUNABLES}
  os.execve(sys.executable, [sys.executable, "-m", "jaxface.commands.main", *arguments], environment)
