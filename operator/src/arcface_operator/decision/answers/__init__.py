"""What others answered, or did not: a gang's first pod to the question how far it is; pure values."""
