"""Which images a rank takes at a step, decoded and augmented ahead of the network. Imports no other room."""
