"""The object store in a member's own Cassandra; imported only where the settings choose it, since the driver is large."""
