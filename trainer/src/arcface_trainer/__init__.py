"""ArcFace training on MindSpore: data, network, sharded head, loop and checkpoints."""
