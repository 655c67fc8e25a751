"""Pure storage contract: manifests, chunk roots, placement (rule S2, design section 7)."""
