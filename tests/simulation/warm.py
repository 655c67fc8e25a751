"""What all workers of a search need, made once: they are copies of a process that has imported this.

A short run makes the writers and readers of all values and the founders' keys, which each worker would make again. It
leaves nothing behind that another run could see: traces are the same with and without.
"""

from __future__ import annotations

from tests.simulation.run import run_options
from tests.simulation.schedule import Options

run_options(Options(seed=0, blocks_least=10, safety_ms=1_000))
