"""What identity keeps as files that others watch: they are touched only when they change."""

from pathlib import Path

from consilium.runtime.whole_files import PRIVATE, write_atomically


def write_changed(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Replace a file unless it holds just this, so that readers that watch it are not woken for nothing."""
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data, mode)
