"""Drawn faces, to try the whole way from images to accuracy without photographs. Imports no other room."""
