"""What a sandbox remembers of itself, and the environment its processes get.

`sandbox.toml` in the folder is what makes it a sandbox: it is written last when an alliance is founded, so a folder without
it is half made or somebody else's. Everything else is derived from it, from genesis and from where the folder lies.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.runtime.settings import FILE_VARIABLE, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """The settings of a sandbox's folder."""

    SECTION: ClassVar[str] = "sandbox"

    chain: str = setting("", "The chain id of the genesis file it was founded with, in hexadecimal.")
    first_port: int = setting(0, "The first of the ports; each service has three in a row.", least=1_024, most=65_000)


def environment_for(settings: Path) -> dict[str, str]:
    """This process's environment for a service that reads these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    return kept | {FILE_VARIABLE: str(settings)}
