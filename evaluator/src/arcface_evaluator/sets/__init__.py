"""Template sets: the files of an IJB release and its images."""
