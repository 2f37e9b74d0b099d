"""What other programs export, each in one module."""
