"""The subcommands of `arcface` that this distribution offers; the only room that prints and exits."""
