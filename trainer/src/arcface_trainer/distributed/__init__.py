"""How ranks meet and what they exchange. Imports no other room."""
