"""The densehybrid command, one module a subcommand."""
