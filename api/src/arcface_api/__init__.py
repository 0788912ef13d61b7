"""The types that cross between users, the operator, the trainer and the evaluator."""
