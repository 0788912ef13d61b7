"""HTML pages and their plots: of evaluations, of trainings."""
