"""What identity keeps in Kubernetes; imported only where the settings name a release, since the client library is large."""
