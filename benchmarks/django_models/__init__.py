"""An application of Django for benchmarks/peers.py."""
