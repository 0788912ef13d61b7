"""What a pod of ranks is: who it is, how its ranks meet, how they are started and ended."""
