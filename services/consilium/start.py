"""Where the command `consilium` starts: the command line, or one sentence about what is not installed.

The contracts' stubs are a distribution of their own, consilium-api, and come beside this one: `pip install ./protos .`. Who
installs this one alone is told so. It stands outside `client`, which cannot be imported without them.
"""

import sys


def main() -> None:
    """Run the command line. Ends with exit code 2 where the stubs are missing."""
    try:
        from consilium.client.cli import main as run  # noqa: PLC0415  what it stands on may not be there
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("consilium.api"):
            raise
        sys.stderr.write(
            "consilium: The stubs of the services (consilium-api) are not installed; in a checkout of the source run"
            " `pip install ./protos .`.\n"
        )
        raise SystemExit(2) from missing
    run()
