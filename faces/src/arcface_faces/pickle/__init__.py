"""Pickles read as data: an interpreter of the opcodes that verification sets use, which runs no code.

Sees no other room.
"""
