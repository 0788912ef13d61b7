"""Face verification protocols: 10-fold pair sets from checkpoints or embeddings."""
