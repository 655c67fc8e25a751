"""Mempool, elected committee, PBFT replica and its vote log."""
