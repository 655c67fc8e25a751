"""The member's certificate authority and keys, credentials, rank evidence, governance proposals."""
