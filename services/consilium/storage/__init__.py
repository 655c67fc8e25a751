"""Encrypted objects, replicas for other members, scrub and shred secrets."""
