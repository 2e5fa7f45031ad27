"""What several components declare in the same way: workloads, network policies, certificates."""
