"""Sets that are not in one file: of templates (IJB), with galleries and images, and lists. Sees protocols."""
