"""Stand-in for the runner's Kubernetes executor: runs one job as the deployed runner would.

It differs from upstream in that it runs a stage by exec, not by attach: upstream's own older
strategy (FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY), for which the same table of permissions
holds. It transfers the cache by curl and zip in the helper's image, in place of
`gitlab-runner-helper`.
"""

from lab.jobs.launcher import run
from lab.jobs.manager import Manager, find
from lab.jobs.model import Cache, Git, Job, Result, Service, Variable

__all__ = ["Cache", "Git", "Job", "Manager", "Result", "Service", "Variable", "find", "run"]
