"""Backup and restore of one member: its blocks, its ciphertext, its copies; never what could speak or open (rule S10)."""
