"""Pure rules of membership and credentials."""
