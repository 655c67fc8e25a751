"""Pure sharing: holders, grants, the release rule, revocation (rules S1 to S7)."""
