"""Grafana dashboards as code: ``python -m dashboards`` builds dashboards/json, which is committed.

A new dashboard is one file with a ``build`` function, and one entry in DASHBOARDS (__main__.py).
"""
