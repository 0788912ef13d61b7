"""The API server: the only room that knows its client. Executes what was decided, and decides nothing."""
