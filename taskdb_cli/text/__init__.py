"""Text for people and logs: no control characters, and no passwords."""
