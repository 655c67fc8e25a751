"""One cluster for all tests here, with the alliance installed: each is brought up when first asked for, and timed."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.alliance import Alliance
from tests.cluster.cluster import Cluster
from tests.cluster.images import all_images
from tests.cluster.places import IPV4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.places import Family


TEST_S, MOVE_S = 900, 30
"""How many seconds a test may take, with the cluster and the alliance when it is the first to ask for them; and how many
more for each time that a pod is moved by force."""
INSTALL = "helm install of four members, to the first final block at each"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Gives these tests the time that a real cluster takes."""
    for each in items:
        if each.path.parent == Path(__file__).parent:
            each.add_marker(pytest.mark.timeout(TEST_S + MOVE_S * each.config.getoption("--reschedules")))


@pytest.fixture(scope="session")
def images() -> list[Path]:
    """The archives of all images, built once."""
    return all_images()


@pytest.fixture(scope="session")
def cluster(images: list[Path]) -> Iterator[Cluster]:
    """The cluster of all tests but those of another family of addresses."""
    with running(images, IPV4) as made:
        yield made


@contextmanager
def running(images: list[Path], family: Family) -> Iterator[Cluster]:
    """A cluster; its folder is removed with it, but for the logs."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
    try:
        made = Cluster.start(folder, images, family)
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.copytree(folder / "logs", Path("build/cluster-logs", folder.name), dirs_exist_ok=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def alliance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Alliance:
    """The four members, installed."""
    return installed(cluster, tmp_path_factory.mktemp("alliance"))


def installed(cluster: Cluster, folder: Path) -> Alliance:
    """The four members with a first final block at each; how long that took is printed and bounded."""
    made = Alliance(cluster, folder)
    with cluster.timed("founding by files"):
        made.found()
    with cluster.timed("namespaces, Secrets, databases"):
        for each in made.members:
            made.prepare(each)
    with cluster.timed(INSTALL):
        made.install_all()
        for each in made.members:
            made.until_height(each, 1)
    return made
