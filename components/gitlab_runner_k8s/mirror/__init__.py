"""The registry mirror, a pull-through cache of Docker Hub in the cluster."""
