"""Sources of embeddings times sets, to documents: pair sets, IJB releases, and both in the evaluator's pod of a job.

Sees all rooms but commands.
"""
