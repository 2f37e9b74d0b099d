"""The history, at the services."""
