"""The commands `arcface evaluate`, `pairs` and `history`. Sees all rooms."""
