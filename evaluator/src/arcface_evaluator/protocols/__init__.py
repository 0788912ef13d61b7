"""What is computed on vectors alone: templates and the scores of their pairs. NumPy only."""
