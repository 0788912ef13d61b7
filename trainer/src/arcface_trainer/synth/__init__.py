"""Drawn faces: sets for trying the whole way from pictures to accuracy where no photographs are at hand."""
