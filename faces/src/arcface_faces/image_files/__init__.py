"""Images as people have them: files below a folder, found, and framed to what networks take. Sees images, delimited."""
