"""From images to embeddings, whatever the network, and the files that embeddings are kept in."""
