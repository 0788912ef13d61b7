"""Results as documents for programs, and as pages for people."""
