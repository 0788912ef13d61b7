"""Sets that are not in one file: IJB releases with text files, images and kept embeddings. Sees protocols."""
