"""glibc's allocator, set for large arrays that come and go: on a CPU page faults cost more than many a convolution.

By default glibc gives every array above 32 MB back to the kernel when it is freed, and the kernel zeroes its pages again
when the next one is made. The settings below keep freed memory, in huge pages. They are read when a process starts, so
the process starts itself once more; it keeps its number and its arguments.
"""

import os
import sys
from collections.abc import Sequence

# One arena: XLA allocates on threads of its own, and in theirs a large array is mapped and given back whatever the
# threshold says. A step of iresnet18 took twice as long for it when another program had run in between.
TUNABLES = (
  "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000:glibc.malloc.arena_max=1"
)


def keep_memory(arguments: Sequence[str]) -> None:
  """Start `jaxface ARGUMENTS` anew with the settings, unless GLIBC_TUNABLES is set already or this is not Linux."""
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
    return
  environment = os.environ | {"GLIBC_TUNABLES": TUNABLES}
  os.execve(sys.executable, [sys.executable, "-m", "jaxface.commands.main", *arguments], environment)
