"""Faces as files and as arrays: records, image folders, verification sets, embeddings, checkpoints."""
