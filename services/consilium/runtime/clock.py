"""What the machine's clock says: the one place where services and clients ask it for milliseconds.

It may be wrong and may go back; what is waited for goes by the event loop's clock instead.
"""

import time

DAY_MS = 86_400_000


def wall_ms() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000
