"""One rank from its configuration to its last step."""
