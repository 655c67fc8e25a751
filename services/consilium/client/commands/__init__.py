"""The command line's verbs, a module each: thin over the SDK, everything they show checked by it."""
