"""Monitoring with the Prometheus operator and Grafana."""
