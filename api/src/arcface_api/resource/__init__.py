"""The custom resource: its types, the rules they are checked by, and the definition made from them."""
