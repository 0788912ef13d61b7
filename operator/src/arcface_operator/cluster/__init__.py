"""The operator proper: observe a job and its children, decide what follows (pure), act through the API server."""
