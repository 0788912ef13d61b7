"""Figures from scores, on arrays. Sees NumPy only."""
