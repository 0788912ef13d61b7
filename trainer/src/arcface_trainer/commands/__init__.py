"""The subcommands of `arcface` that this distribution offers; imports MindSpore only inside of those that need it."""
