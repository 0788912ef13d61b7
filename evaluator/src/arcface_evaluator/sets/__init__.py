"""Sets that are not in one file: an IJB release, its text files and its images. Sees protocols."""
