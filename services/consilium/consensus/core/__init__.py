"""Pure consensus: PBFT replica, election, handover, messages and evidence (rules C1 to C9)."""
