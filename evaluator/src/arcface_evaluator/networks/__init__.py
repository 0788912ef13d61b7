"""Networks that embed images, by what they are stored in: a checkpoint, MindIR or ONNX.

Sees no other room, and is the only one that sees the trainer.
"""
