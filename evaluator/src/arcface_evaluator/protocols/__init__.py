"""What is computed on vectors alone: templates and their pairs, 1:N identification, all against all. NumPy only."""
