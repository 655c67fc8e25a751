"""How an alliance begins and how a member comes to it: acts of people over files, before any service runs (rules L5, G2)."""
