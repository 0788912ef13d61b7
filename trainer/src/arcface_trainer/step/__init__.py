"""One update: forward, backward, clip, momentum."""
