"""Backbones, from an image to its embedding."""
