"""Output: formats for programs, tables for people."""
