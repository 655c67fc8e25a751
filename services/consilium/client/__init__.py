"""SDK and command line: holds secret keys, encrypts before anything leaves, checks every answer, never serves."""
