"""Results as documents for programs, and as tables and pages for people. Sees protocols and metrics."""
