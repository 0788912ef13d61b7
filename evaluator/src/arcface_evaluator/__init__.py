"""Face verification: pair sets in 10 folds and IJB releases, from checkpoints, models or embeddings."""
