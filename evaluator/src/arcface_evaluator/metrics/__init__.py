"""Figures from scores, on arrays."""
