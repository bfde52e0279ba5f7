"""Reads the world. Formats are known here and nowhere else; roots, sockets and clocks are injected."""
