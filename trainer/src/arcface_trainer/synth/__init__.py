"""Drawn faces: sets for trying the whole way from images to accuracy where no photographs are at hand."""
