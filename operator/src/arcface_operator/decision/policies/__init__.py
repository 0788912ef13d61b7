"""Where fields and settings that bound a job are judged, one module for each by its name, and the clock; pure."""
