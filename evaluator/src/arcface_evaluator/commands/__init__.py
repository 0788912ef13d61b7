"""The commands `arcface evaluate`, `embed`, `pairs`, `history` and `checkpoint`. Sees all rooms."""
