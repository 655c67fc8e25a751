"""The images a cluster is given, built on the spot by buildah, whose layers are kept with those of tools/image.sh.

The product's own; the same source as another build, to upgrade to; Cassandra from its pinned jars on the product's base,
with the distribution's Java; and two of one program each, CoreDNS and what holds a pod's namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.cluster import run
from tests.cluster.places import ROOT, TOOLS
from tests.ring.instance import jars

PRODUCT, NEXT_BUILD = "localhost/consilium:dev", "localhost/consilium:next"
CASSANDRA = "localhost/cassandra:1"
FOLDER = ROOT / "build" / "image"
HERE = Path(__file__).parent
PROGRAM = 'FROM scratch\nCOPY program /program\nENTRYPOINT ["/program"]\n'


def all_images() -> list[Path]:
    """The archives of all images, those built that are missing or old."""
    return [program("pause"), program("coredns"), product(PRODUCT), product(NEXT_BUILD, later_s=1), cassandra()]


def product(tag: str, later_s: int = 0) -> Path:
    """The product, as of the last commit's time or some seconds later, which is another build of the same."""
    epoch = run(["git", "log", "-1", "--format=%ct"]).strip() or "0"
    environment = {**os.environ, "EPOCH": str(int(epoch) + later_s)}
    done = subprocess.run(
        [str(ROOT / "tools" / "image.sh"), tag], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _archive(tag)


def program(name: str) -> Path:
    """An image of one program of `.tools/bin` alone."""
    tag, folder = f"localhost/{name}:1", FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(TOOLS / name, folder / "program")
    (folder / "Dockerfile").write_text(PROGRAM)
    _build(tag, folder, folder / "Dockerfile")
    return _push(tag)


def cassandra() -> Path:
    """Cassandra, from the jars that `make cassandra` has fetched."""
    _build(CASSANDRA, jars(), HERE / "cassandra.Dockerfile", "--build-arg", "BASE=localhost/consilium-base")
    return _push(CASSANDRA)


def _build(tag: str, context: Path, file: Path, *arguments: str) -> None:
    _buildah("bud", "--quiet", "--isolation=chroot", "--layers", "--tag", tag, "--file", str(file), *arguments, str(context))


def _push(tag: str) -> Path:
    archive = _archive(tag)
    archive.unlink(missing_ok=True)
    _buildah("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
    return archive


def _archive(tag: str) -> Path:
    return FOLDER / f"{tag.rpartition('/')[2].replace(':', '-')}.tar"


def _buildah(*arguments: str) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consilium" / "images"
    run(["buildah", "--root", f"{cache}/storage", "--runroot", f"{cache}/run", *arguments])
