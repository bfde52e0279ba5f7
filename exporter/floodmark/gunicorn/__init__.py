"""What floodmark knows of Gunicorn: finding masters, following workers, judging how they ended."""
