"""The HTTP API: the same services as the command line, for programs; it comes with the extra `api`."""
