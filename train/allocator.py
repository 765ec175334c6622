"""Memory that a training step frees is kept for the next one."""

import ctypes
import os
import platform

# Of malloc.h: how much free memory at the end of the heap goes back to the system, and from which
# size on a block is mapped by itself (and unmapped when freed).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 1 << 30


def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep what is freed, up to 1 GiB; elsewhere nothing happens.

    By itself it gives large blocks back at the end of each step of training on a CPU, and the
    system hands them out again, page by page, zeroed, in the next. What the environment says
    (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`) stands.
    """
    if platform.libc_ver()[0] != "glibc" or any(
        name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ
    ):
        return
    libc = ctypes.CDLL(None)
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        libc.mallopt(parameter, _NEVER)
