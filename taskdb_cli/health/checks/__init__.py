"""The checks. Importing one of the modules registers its checks; the module of an engine has its name."""
