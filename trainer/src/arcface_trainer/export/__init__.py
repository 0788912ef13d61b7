"""A checkpoint as a model file of other tools."""
