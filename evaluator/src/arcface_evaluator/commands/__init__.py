"""The subcommands of `arcface` that this distribution offers."""
