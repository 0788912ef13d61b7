"""`arcface run`: the manifests of a job executed as processes of this machine; knows nothing of the API server."""
