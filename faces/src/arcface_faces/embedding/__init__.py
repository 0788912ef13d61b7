"""From images to embeddings, whatever the network is stored in, and embeddings as arrays and files. Sees images."""
