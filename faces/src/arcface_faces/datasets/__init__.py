"""Training sets: images with identities, in records or in folders, and the ways between. Sees records and images."""
