"""The class-sharded head: margin and softmax over all identities. Imports distributed."""
