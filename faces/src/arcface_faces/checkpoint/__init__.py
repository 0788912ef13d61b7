"""Checkpoints as files: their manifest, how they are found and read. Sees images."""
