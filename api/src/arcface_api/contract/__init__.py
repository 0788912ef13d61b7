"""What crosses between the operator and the pods it makes."""
