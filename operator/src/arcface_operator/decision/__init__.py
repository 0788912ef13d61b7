"""What follows from what was observed: pure, without a client and without a clock of its own."""
