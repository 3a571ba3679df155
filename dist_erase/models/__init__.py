"""open_clip models: resolving, preprocessing, fingerprints, export."""
