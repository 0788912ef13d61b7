"""Protocols of verification by templates, on arrays. Sees NumPy only."""
