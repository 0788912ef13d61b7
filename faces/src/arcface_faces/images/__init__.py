"""One image: its bytes, its pixels, its alignment, and how it is prepared for a network. Sees no other room."""
