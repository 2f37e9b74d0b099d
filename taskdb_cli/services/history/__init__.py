"""The history: find operations, undo them, and forget them."""
