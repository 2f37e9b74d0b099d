"""Lists of users and tasks: filters, sort keys, cursors and pages."""
