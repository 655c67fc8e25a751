"""Runs a service's module as `python -m` would, in a process that ends with the one that started it.

`python -m consilium.sandbox.child PARENT MODULE MEMBER`: the kernel kills it when the parent dies, however the parent dies,
and even while it is paused; so a killed test leaves no services behind. The member is named for whoever looks for one
member's process among many. Nothing of ours is imported but the service.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: which signal comes when the thread that started this process has ended."""


def main() -> None:
    """Bind to the parent, and become the module."""
    parent, module, _ = sys.argv[1:]
    bind(int(parent))
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def bind(parent: int) -> None:
    """Have the kernel end this process with its parent; ends it here when the parent has died already."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    # It may have died before the kernel was asked.
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    main()
