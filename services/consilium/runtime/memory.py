"""How much freed memory a process keeps for its next use: some MiB, for chunks of 256 KiB come and go all the time.

The C library gives memory of that size back to the kernel as soon as it is free, and every page of the next chunk is then
fetched and cleared anew: to encode one frame cost thirty times what copying its bytes does. Only glibc is told, for others
have habits of their own; a library in somebody else's process, as the SDK is, changes nothing there.
"""

import ctypes
from contextlib import suppress

OWN_MAPPING_BYTES = 1_048_576
"""From this size on memory is the kernel's again once it is free."""
KEPT_BYTES = 4_194_304
"""How much free memory is kept at the end of a heap."""
HEAPS_MAX = 4
"""How many heaps its threads share: each keeps so much, and holes of its own."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX of mallopt(3)."""


def keep_freed_memory() -> None:
    """Tell the C library, once, at the start of a process that is ours."""
    with suppress(AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_ARENA_MAX, HEAPS_MAX)
