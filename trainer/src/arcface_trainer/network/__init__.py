"""The backbone: its layers, its weights by name, and a trained one as a plain function. Imports no other room."""
