"""Verification sets of pairs: their files and the 10-fold protocol."""
