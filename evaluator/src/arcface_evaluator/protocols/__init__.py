"""Protocols of verification by templates, on arrays."""
