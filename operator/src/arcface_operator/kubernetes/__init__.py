"""The API server: the only room that knows its client."""
