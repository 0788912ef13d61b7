"""The commands `arcface evaluate` and `arcface pairs`. Sees all rooms."""
