"""The commands `arcface evaluate`, `pairs`, `history` and `checkpoint`. Sees all rooms."""
