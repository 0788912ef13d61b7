"""What is measured on scores: rates, curves, intervals, tests. Needs NumPy only."""
