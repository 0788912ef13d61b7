"""What others answered, or did not: a gang's first pod to a question, the API server to an action; pure values."""
