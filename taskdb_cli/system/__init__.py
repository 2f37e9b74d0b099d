"""The operating system: paths, signals, and the files for settings and logs."""
