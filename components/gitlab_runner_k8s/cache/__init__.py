"""The distributed cache: a store in the cluster, a bucket on AWS, or an existing store."""
