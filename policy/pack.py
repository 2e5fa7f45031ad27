"""The rules as Pulumi policies."""

from collections.abc import Callable

import rules
from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

_NAMESPACES = PolicyConfigSchema(
    {
        "namespaces": {
            "type": "array",
            "items": {"type": "string"},
            "default": list(rules.DOCKER_NAMESPACES),
        }
    }
)


def _resource(rule: rules.Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        namespaces = [args.get_config()["namespaces"]] if rule.takes_namespaces else []
        for problem in rule.check(args.resource_type, args.props, *namespaces):
            report(problem, None)

    return ResourceValidationPolicy(
        rule.name,
        rule.description,
        validate,
        EnforcementLevel.MANDATORY,
        _NAMESPACES if rule.takes_namespaces else None,
    )


def _buckets(args: StackValidationArgs, report: Callable[..., None]) -> None:
    resources = [(item.resource_type, item.name, item.props) for item in args.resources]
    for problem in rules.buckets_without_a_block(resources):
        report(problem)


POLICIES = [
    *(_resource(rule) for rule in rules.RULES),
    StackValidationPolicy(
        "bucket-has-a-block",
        "Every S3 bucket has a public-access block.",
        _buckets,
        EnforcementLevel.MANDATORY,
    ),
]


def serve() -> None:
    """Serve the pack to the engine."""
    PolicyPack("gitlab-runner-k8s", POLICIES)
