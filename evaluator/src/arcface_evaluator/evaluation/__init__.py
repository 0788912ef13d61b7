"""Sources of embeddings times sets, to documents."""
