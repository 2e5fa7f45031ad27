"""The pack in its own environment, by Pulumi's own classes."""

import json
import subprocess
from pathlib import Path

from tests.required import missing

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache/policy-venv/bin/python"
SCRIPT = """
import json, pack
from pulumi_policy import ResourceValidationArgs, StackValidationArgs, PolicyResource

found = {}
context = {"privileged": True}
bad = {"spec": {"containers": [{"name": "c", "image": "x", "securityContext": context}]}}
for policy in pack.POLICIES:
    problems = found[policy.name] = []
    if hasattr(policy, "validate") and policy.name != "bucket-has-a-block":
        args = ResourceValidationArgs(
            "kubernetes:core/v1:Pod", bad, "urn", "pod", None, None)
        args.get_config = lambda: {"namespaces": ["elsewhere"]}
        policy.validate(args, lambda message, urn=None: problems.append(message))
print(json.dumps(found))
"""


def test_the_pack_reports_what_the_rules_find() -> None:
    if not PYTHON.exists():
        missing("the pack's environment is not there (make policy)")
    result = subprocess.run(
        [PYTHON, "-c", SCRIPT], cwd=ROOT / "policy", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert {name for name, problems in found.items() if problems} == {
        "immutable-images",
        "no-privilege",
        "limits",
    }
    assert len(found) == 8
