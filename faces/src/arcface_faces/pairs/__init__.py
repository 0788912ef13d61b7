"""Verification sets of pairs: their files, the lists they are made of, and the 10-fold protocol.

Sees embedding, pickle and images.
"""
