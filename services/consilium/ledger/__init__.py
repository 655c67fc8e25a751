"""Blocks, state, proofs, event stream and block sync."""
