"""floodmark: why Gunicorn workers die, and the flood before it drowns the server."""

__version__ = "0.1.0"
