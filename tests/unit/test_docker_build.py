"""The docker build template without a cluster: its inputs, and its script against stand-ins.

The stand-in for `docker` answers as its environment says and records how it was called.
"""

import hashlib
import json
import os
import re
import shutil
import string
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from gitlab_runner_k8s import pins

from lab.gitlab import Git, ci, component
from lab.paths import ROOT

TEMPLATE = (ROOT / "templates/docker-build/template.yml").read_text()
HEADER: dict[str, Any] = next(yaml.safe_load_all(TEMPLATE))["spec"]["inputs"]
SHA = "0" * 40
IMAGE = "registry.example.com/group/app"
GIT = Git(SHA)

# Called as `docker`: writes down its arguments, its input where it logs in, and plays a build.
DOCKER = r"""#!/bin/sh
{ printf '%s' "$1"; shift; for one; do printf '\037%s' "$one"; done; printf '\036'; } \
    >> "$STANDIN/calls" < /dev/null
last=$(tail -c 100000 "$STANDIN/calls" | tr '\036' '\n' | tail -n 1 | tr '\037' ' ')
case $last in
  "buildx version"*) ;;
  "version "*)
    [ "${STANDIN_DAEMON:-yes}" = yes ] || { echo "Cannot connect to the daemon" >&2; exit 1; }
    echo 29.8.1 ;;
  "info "*) echo "${STANDIN_STORE:-[[\"Backing Filesystem\",\"extfs\"]]}" ;;
  "login "*) cat > "$STANDIN/password"; exit "${STANDIN_LOGIN:-0}" ;;
  "pull "*) echo "manifest unknown"; exit "${STANDIN_PULL:-1}" ;;
  "ps "*) cat "$STANDIN/containers" ;;
  "inspect "*) sed -n "s/^${last##* } //p" "$STANDIN/created" ;;
  "buildx build "*)
    ls -A > "$STANDIN/context"
    cat "$STANDIN/output" 2> /dev/null
    exit "${STANDIN_BUILD:-0}" ;;
esac
"""


@dataclass(frozen=True)
class Ran:
    """What a script did."""

    code: int
    output: str
    calls: list[list[str]]
    folder: Path

    @property
    def build(self) -> list[str]:
        """The arguments of the build."""
        (found,) = [call for call in self.calls if call[:2] == ["buildx", "build"]]
        return found

    def given(self, option: str) -> list[str]:
        """Return the values of an option of the build."""
        return [b for a, b in zip(self.build, self.build[1:], strict=False) if a == option]


@dataclass(frozen=True)
class Template:
    """The template's job in a directory with stand-ins."""

    folder: Path
    path: str
    """Where commands are found, `sh` among them."""

    def run(
        self,
        inputs: dict[str, Any] | None = None,
        output: str = "",
        containers: dict[str, str] | None = None,
        **variables: str,
    ) -> Ran:
        text = component.render(TEMPLATE, {"image": IMAGE, "wait-seconds": 0, **(inputs or {})})
        job = ci.job(text, "docker-build", GIT, project_path="group/app")
        given = {one.key: one.value for one in job.variables}
        given |= {"CI_JOB_ID": "1", "DOCKER_HOST": "tcp://docker:2376", **variables}
        # A reference to a variable that is not set becomes empty.
        environment = {
            key: string.Template(value).safe_substitute(defaultdict(str, {**given, key: ""}))
            for key, value in given.items()
        }
        # A branch's name is no text of ours: nothing in it is expanded.
        environment |= variables
        work, standin = self.folder / "work", self.folder / "standin"
        for made in (work, standin):
            made.mkdir(exist_ok=True)
        (standin / "docker").write_text(DOCKER)
        (standin / "docker").chmod(0o755)
        (standin / "calls").write_text("")
        (standin / "output").write_text(output)
        (standin / "containers").write_text("".join(f"{name}\n" for name in containers or {}))
        created = "".join(f"{name} {when}\n" for name, when in (containers or {}).items())
        (standin / "created").write_text(created)
        result = subprocess.run(
            [str(shutil.which("sh", path=self.path)), "-c", "\n".join(job.script)],
            cwd=work,
            env={
                **environment,
                "PATH": f"{standin}:{self.path}",
                "STANDIN": str(standin),
                "TMPDIR": str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        calls = (standin / "calls").read_text().split("\036")[:-1]
        return Ran(result.returncode, result.stdout, [c.split("\037") for c in calls], self.folder)


@pytest.fixture(params=["system", "busybox"])
def template(request: pytest.FixtureRequest, tmp_path: Path) -> Template:
    if request.param == "system":
        return Template(tmp_path, os.environ["PATH"])
    return Template(tmp_path, str(request.getfixturevalue("busybox")))


def rendered(**inputs: Any) -> Any:
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    return yaml.safe_load(component.render(TEMPLATE, given))


def merge_request(source: str, **more: str) -> dict[str, str]:
    """Return the variables of a merge request's pipeline, which has no CI_COMMIT_BRANCH."""
    return {
        "CI_COMMIT_BRANCH": "",
        "CI_COMMIT_REF_NAME": "refs/merge-requests/7/merge",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": source,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        **more,
    }


def key(branch: str, slug: str, kind: str = "branch") -> str:
    return f"{kind}-{slug}-{hashlib.sha256(branch.encode()).hexdigest()[:8]}"


# --- the header


def test_every_input_is_described_and_has_a_default() -> None:
    for name, rule in HEADER.items():
        assert rule["description"].endswith("."), name
        assert "default" in rule, name
    # The renderer refuses what is never used.
    assert "docker-build" in rendered()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job-name", "a b"),
        ("job-name", "../x"),
        ("builder", "kaniko"),
        ("mode", "s3"),
        ("image", "-x"),
        ("image", "a b"),
        ("image", "$(id)"),
        ("context", "--help"),
        ("push", "sometimes"),
        ("registry-password-variable", "glpat-123"),
        ("registry-password-variable", "$CI_REGISTRY_PASSWORD"),
        ("runner-tags", "docker"),
        ("wait-seconds", "60"),
    ],
)
def test_bad_inputs_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: must "):
        component.render(TEMPLATE, {name: value})


def test_what_may_be_empty_has_no_regex() -> None:
    """Before 18.1 or so, GitLab let no regex match it: gitlab-org/gitlab#477707."""
    assert not [name for name, rule in HEADER.items() if rule["default"] == "" and "regex" in rule]


def test_images_are_those_of_the_package() -> None:
    images = {name: HEADER[name]["default"] for name in HEADER if name.endswith("-image")}
    assert images == {
        "job-image": pins.DOCKER_CLI_IMAGE,
        "dind-image": pins.DOCKER_DAEMON_IMAGE,
        "buildkit-image": pins.BUILDKIT_BUILDER_IMAGE,
        "cache-image": "",
    }


def test_two_images_are_two_jobs_that_share_nothing() -> None:
    first, second = rendered(job_name="api"), rendered(job_name="web")
    assert set(first) & set(second) == set()
    assert first["api"]["cache"]["key"] != second["web"]["cache"]["key"]


def allowed(rules: list[dict[str, str]], **variables: str) -> bool:
    """Return whether a pipeline with these variables gets the job."""
    for rule in rules:
        words = rule["if"].replace("&&", "and").replace("||", "or")
        text = re.sub(r"\$(\w+)", lambda found: repr(variables.get(found[1], "")), words)
        if eval(text, {"__builtins__": {}}):
            return rule.get("when") != "never"
    return False


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CI_COMMIT_BRANCH": "other"}, True),
        ({"CI_COMMIT_BRANCH": "other", "CI_OPEN_MERGE_REQUESTS": "a/b!1"}, False),
        ({"CI_COMMIT_BRANCH": "main"}, True),
        # From main to a branch of releases: `latest` is still pushed.
        ({"CI_COMMIT_BRANCH": "main", "CI_OPEN_MERGE_REQUESTS": "a/b!1"}, True),
        ({"CI_PIPELINE_SOURCE": "merge_request_event", "CI_OPEN_MERGE_REQUESTS": "a/b!1"}, True),
        ({"CI_COMMIT_TAG": "v1"}, True),
        ({}, False),
    ],
)
def test_which_pipelines_build(variables: dict[str, str], expected: bool) -> None:
    rules = rendered()["docker-build"]["rules"]
    assert allowed(rules, CI_DEFAULT_BRANCH="main", **variables) == expected


@pytest.mark.parametrize("builder", ["shared", "dind", "buildkit"])
def test_only_a_daemon_of_the_jobs_own_is_a_service(builder: str) -> None:
    text = yaml.safe_dump(rendered(builder=builder))
    job = ci.job(text, "docker-build", GIT)
    known = {one.key: one.value for one in job.variables}
    assert known["DOCKER_BUILD_BUILDER"] == builder
    assert len(job.services) == (builder == "dind")
    assert ("DOCKER_HOST" in known) == (builder == "dind")
    if builder == "dind":
        # Nobody outside of the pod reaches a daemon without certificates.
        assert "--host=tcp://127.0.0.1:2375" in job.services[0].command[0]
        assert "0.0.0.0" not in job.services[0].command[0]


def test_the_documented_uses_are_valid() -> None:
    text = (ROOT / "docs/docker-builds.md").read_text()
    uses = [
        use
        for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for use in yaml.safe_load(block)["include"]
    ]
    assert len(uses) == 3
    for use in uses:
        component.render(TEMPLATE, use.get("inputs", {}))
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)(?::[^`]*)?`", text))
    assert named & {*HEADER} >= {"build-secrets", "cache-image", "dind-options"}


def test_the_scripts_are_right_for_any_posix_shell() -> None:
    jobs = rendered(builder="dind")
    scripts = [
        *jobs["docker-build"]["script"],
        *jobs[".docker-build:dind"]["services"][0]["command"],
    ]
    for shell in filter(shutil.which, ("sh", "dash", "bash")):
        for script in scripts:
            subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_inputs_reach_the_script_by_variables_alone() -> None:
    (script,) = rendered(image="registry.example.com/canary")["docker-build"]["script"]
    assert "canary" not in script
    assert "$[[" not in script


# --- keys


@pytest.mark.parametrize(
    ("variables", "own", "read"),
    [
        ({}, "default", ["default"]),
        (
            {"CI_COMMIT_BRANCH": "feature/One"},
            key("feature/One", "feature-one"),
            [key("feature/One", "feature-one"), "default"],
        ),
        (
            merge_request("feature/One"),
            key("feature/One", "feature-one"),
            [key("feature/One", "feature-one"), "default"],
        ),
        (
            merge_request("fix", CI_MERGE_REQUEST_TARGET_BRANCH_NAME="1.x"),
            key("fix", "fix"),
            [key("fix", "fix"), key("1.x", "1-x"), "default"],
        ),
        (
            merge_request("main", CI_MERGE_REQUEST_SOURCE_PROJECT_ID="77"),
            key("main", "main", "fork-77"),
            [key("main", "main", "fork-77"), "default"],
        ),
        ({"CI_COMMIT_BRANCH": "", "CI_COMMIT_TAG": "v1"}, None, ["default"]),
    ],
    ids=["default", "branch", "merged result", "other target", "fork's main", "tag"],
)
def test_the_keys_of_a_pipeline(
    template: Template, variables: dict[str, Any], own: str | None, read: list[str]
) -> None:
    ran = template.run(
        {"mode": "registry"}, STANDIN_STORE="io.containerd.snapshotter.v1", **variables
    )
    assert ran.code == 0, ran.output
    cache = f"type=registry,ref={IMAGE}/cache"
    assert ran.given("--cache-from") == [f"{cache}:{one}" for one in read]
    written = [f"{cache}:{own},mode=max,ignore-error=true"] if own else []
    assert ran.given("--cache-to") == written
    default = own == "default"
    assert ran.given("--tag") == [f"{IMAGE}:{SHA}", *([f"{IMAGE}:latest"] if default else [])]


@pytest.mark.parametrize("name", ["Main", "-main", "main-", "MAIN"])
def test_no_other_branch_gets_the_default_branchs_key(template: Template, name: str) -> None:
    ran = template.run(CI_COMMIT_BRANCH=name)
    assert ran.code == 0, ran.output
    assert ran.given("--tag") == [f"{IMAGE}:{SHA}", f"{IMAGE}/cache:{key(name, 'main')}"]


@pytest.mark.parametrize("name", ["feature/äöü-Ünit", "a" * 80, "x/$(touch pwned)`id`;'\"*"])
def test_a_slug_is_gitlabs(template: Template, name: str) -> None:
    ran = template.run(CI_COMMIT_BRANCH=name)
    assert ran.code == 0, ran.output
    assert f"{IMAGE}/cache:{key(name, ci._slug(name))}" in ran.given("--tag")
    assert not (ran.folder / "work/pwned").exists()


# --- what is pushed


SEVERAL = "linux/amd64,linux/arm64"
CONTAINERD = "io.containerd.snapshotter.v1"


@pytest.mark.parametrize(
    ("inputs", "store", "mode"),
    [
        ({"builder": "dind"}, "", "registry"),
        ({"builder": "shared"}, "", "inline"),
        ({"builder": "buildkit"}, "", "inline"),
        # The driver is then docker-container, which ends with the job.
        ({"builder": "shared", "platforms": SEVERAL}, "", "registry"),
        ({"builder": "shared", "platforms": SEVERAL}, CONTAINERD, "inline"),
        ({"builder": "shared", "platforms": SEVERAL, "mode": "inline"}, "", "inline"),
        ({"builder": "buildkit", "platforms": SEVERAL}, "", "inline"),
    ],
)
def test_layers_are_kept_where_the_builder_has_none(
    template: Template, inputs: Any, store: str, mode: str
) -> None:
    ran = template.run(inputs, STANDIN_STORE=store, BUILDKIT_HOST="tcp://b:1234")
    assert ran.code == 0, ran.output
    assert f"; mode: {mode}" in ran.output
    assert all(one.startswith(f"type={mode}") for one in ran.given("--cache-to"))


def test_inline_reads_and_writes_the_image(template: Template) -> None:
    ran = template.run(STANDIN_PULL="0")
    assert ran.given("--cache-from") == [f"type=registry,ref={IMAGE}:latest"]
    assert ran.given("--cache-to") == ["type=inline"]
    assert ["pull", "--quiet", f"{IMAGE}:latest"] in ran.calls
    assert "--push" in ran.build


def test_a_pull_that_fails_is_no_error(template: Template) -> None:
    ran = template.run()
    assert ran.code == 0
    assert "that is no error: manifest unknown" in ran.output


def test_the_mode_daemon_has_no_cache_elsewhere(template: Template) -> None:
    ran = template.run({"mode": "daemon"})
    assert not [one for one in ran.build if one.startswith("--cache")]
    assert not [call for call in ran.calls if call[0] == "pull"]


@pytest.mark.parametrize(
    ("push", "branch", "pushes"),
    [
        ("always", "main", True),
        ("always", "other", True),
        ("default-branch", "main", True),
        ("default-branch", "other", False),
        ("never", "main", False),
    ],
)
def test_only_those_who_may_push(template: Template, push: str, branch: str, pushes: bool) -> None:
    ran = template.run({"push": push}, CI_COMMIT_BRANCH=branch)
    assert ran.code == 0, ran.output
    assert ("--push" in ran.build) == bool(ran.given("--cache-to")) == pushes


def test_latest_cannot_be_asked_for_elsewhere(template: Template) -> None:
    ran = template.run({"tags": "latest"}, CI_COMMIT_BRANCH="other")
    assert ran.code == 1
    assert "only the default branch pushes" in ran.output


def test_every_option_of_a_build(template: Template) -> None:
    (template.folder / "work/sub dir").mkdir(parents=True)
    ran = template.run(
        {
            "context": "sub dir",
            "dockerfile": "Other",
            "target": "t",
            "platforms": "linux/arm64",
            "build-args": "A=one two\nB=$CI_COMMIT_SHA\n\nC='*\"$$(id)",
            "build-secrets": "id=npm,env=NPM\n\nid=key,src=keys/a b.pem",
            "tags": "v1 $CI_COMMIT_TAG",
        }
    )
    assert ran.code == 0, ran.output
    assert ran.build[-2:] == ["--", "sub dir"]
    assert ran.given("--file") == ["Other"]
    assert ran.given("--target") == ["t"]
    assert ran.given("--platform") == ["linux/arm64"]
    assert ran.given("--build-arg") == ["A=one two", f"B={SHA}", "C='*\"$(id)"]
    assert ran.given("--secret") == ["id=npm,env=NPM", "id=key,src=keys/a b.pem"]
    assert ran.given("--tag") == [f"{IMAGE}:{SHA}", f"{IMAGE}:latest", f"{IMAGE}:v1"]


def test_base_images_are_the_registrys_unless_told_otherwise(template: Template) -> None:
    assert "--pull" in template.run({}).build
    assert "--pull" not in template.run({"pull": False}).build


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"image": "$MISSING"}, "the input 'image' is empty"),
        ({"image": "a/b:tag"}, "the input 'image' has a tag"),
        ({"cache-image": "a/b:tag"}, "the input 'cache-image' has a tag"),
        ({"context": "missing"}, "the input 'context' is no directory: missing"),
        ({"build-args": "A=1\nno pair"}, "the input 'build-args' has a line"),
        ({"build-args": "1A=1"}, "the input 'build-args' has a line"),
        ({"build-args": "=1"}, "the input 'build-args' has a line"),
        ({"tags": "-x"}, "this is no tag of an image: -x"),
        ({"tags": "a;b"}, "this is no tag of an image: a;b"),
        ({"cache-image": "a;b"}, "the input 'cache-image' is no repository: a;b"),
        ({"target": "a b"}, "the input 'target' is not valid: a b"),
        ({"target": "a\n--push"}, "the input 'target' is not valid: a"),
        ({"platforms": "linux"}, "the input 'platforms' is not valid: linux"),
        ({"platforms": "linux/amd64 linux/arm64"}, "the input 'platforms' is not valid"),
        ({"platforms": "linux/amd64,"}, "the input 'platforms' is not valid"),
        ({"plain-http-registry": "http://r:5000"}, "the input 'plain-http-registry' is not valid"),
        ({"build-secrets": "rubbish --push"}, "the input 'build-secrets' has a line"),
        ({"build-secrets": "id=a,env=B\nid=a"}, "the input 'build-secrets' has a line"),
        ({"build-secrets": "id=a,env=B,src=c"}, "the input 'build-secrets' has a line"),
        ({"build-secrets": "env=B"}, "the input 'build-secrets' has a line"),
        ({"cache-image": IMAGE, "tags": "v1 default"}, "the input 'tags' has default, a key"),
        ({"cache-image": IMAGE, "tags": "branch-x-0"}, "the input 'tags' has branch-x-0, a key"),
        ({"cache-image": IMAGE, "tags": "fork-7-x-0"}, "the input 'tags' has fork-7-x-0, a key"),
    ],
)
def test_what_is_wrong_only_in_the_job(template: Template, inputs: Any, said: str) -> None:
    ran = template.run(inputs)
    assert ran.code == 1
    assert f"docker-build: error: {said}" in ran.output


# --- the builder


def test_no_daemon_is_a_clear_word(template: Template) -> None:
    ran = template.run(STANDIN_DAEMON="no")
    assert ran.code == 1
    assert "error: no daemon answers at tcp://docker:2376 (builder: shared)" in ran.output
    for builder, name in (("shared", "DOCKER_HOST"), ("buildkit", "BUILDKIT_HOST")):
        none = template.run({"builder": builder}, DOCKER_HOST="")
        assert none.code == 1
        assert f"The runner gives no {name}" in none.output


@pytest.mark.parametrize(
    ("inputs", "store", "driver"),
    [
        ({"mode": "inline"}, "", "docker"),
        ({"mode": "daemon"}, "", "docker"),
        ({"mode": "registry"}, "", "docker-container"),
        ({"mode": "registry"}, "io.containerd.snapshotter.v1", "docker"),
        ({"platforms": "linux/amd64,linux/arm64"}, "", "docker-container"),
        ({"platforms": "linux/amd64,linux/arm64"}, "io.containerd.snapshotter.v1", "docker"),
        ({"platforms": "linux/arm64"}, "", "docker"),
    ],
)
def test_the_driver_is_one_that_can(
    template: Template, inputs: Any, store: str, driver: str
) -> None:
    ran = template.run(
        inputs, STANDIN_STORE=store, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/certs"
    )
    assert ran.code == 0, ran.output
    assert f"(driver {driver})" in ran.output
    own = [call for call in ran.calls if call[:2] in (["context", "create"], ["buildx", "create"])]
    removed = [call for call in ran.calls if "rm" in call]
    assert len(own) == len(removed) == (2 if driver == "docker-container" else 0)
    if own:
        tls = "ca=/certs/ca.pem,cert=/certs/cert.pem,key=/certs/key.pem"
        assert own[0][-1] == f"host=tcp://docker:2376,{tls}"
        assert f"image={pins.BUILDKIT_BUILDER_IMAGE}" in own[1]
        assert ran.given("--builder") == ["docker-build-1-builder"]


def test_only_old_builders_of_earlier_jobs_are_removed(template: Template) -> None:
    def ago(seconds: int) -> str:
        when = datetime.now(UTC) - timedelta(seconds=seconds)
        return when.isoformat().replace("+00:00", "Z")

    prefix, day = "buildx_buildkit_docker-build-", 86400
    containers = {
        f"{prefix}1-builder0": ago(2 * day),
        f"{prefix}2-builder0": ago(day - 600),
        f"{prefix}3-builder0": "",
        f"{prefix}-builder0": ago(2 * day),
        f"{prefix}4a-builder0": ago(2 * day),
        f"{prefix}5-builder0-mine": ago(2 * day),
        f"mine-{prefix}6-builder0": ago(2 * day),
    }

    def removed(ran: Ran) -> list[str]:
        assert ran.code == 0, ran.output
        return [c[-1] for c in ran.calls if c[:2] in (["rm", "--force"], ["volume", "rm"])]

    old = [f"{prefix}1-builder0", f"{prefix}1-builder0_state"]
    given = {"mode": "registry"}
    assert removed(template.run(given, containers=containers)) == old
    # Another job may run as long as this one may.
    assert removed(template.run(given, containers=containers, CI_JOB_TIMEOUT=f"{3 * day}")) == []
    assert removed(template.run(given, containers=containers, CI_JOB_TIMEOUT="60")) == old
    # A job that makes no builder looks for none.
    assert not [c for c in template.run(containers=containers).calls if c[0] == "ps"]


def test_a_remote_buildkit_gets_its_certificates(template: Template) -> None:
    ran = template.run(
        {"builder": "buildkit", "mode": "registry"},
        BUILDKIT_HOST="tcp://buildkit:1234",
        BUILDKIT_CERT_PATH="/b",
    )
    assert ran.code == 0, ran.output
    (made,) = [call for call in ran.calls if call[:2] == ["buildx", "create"]]
    assert "cacert=/b/ca.pem,cert=/b/cert.pem,key=/b/key.pem" in made
    assert made[-1] == "tcp://buildkit:1234"
    assert not [call for call in ran.calls if call[0] in {"info", "version"}]


# --- the registry's password


def test_the_password_is_in_no_argument_and_no_output(template: Template) -> None:
    account: dict[str, Any] = {
        "CI_REGISTRY": "r",
        "CI_REGISTRY_USER": "u",
        "CI_REGISTRY_PASSWORD": "se'cr$et",
    }
    ran = template.run(**account)
    assert ran.code == 0, ran.output
    assert (ran.folder / "standin/password").read_text() == "se'cr$et"
    assert "se'cr$et" not in ran.output + json.dumps(ran.calls)
    # Nor is it left where the client writes it.
    assert {path.name for path in ran.folder.iterdir()} == {"work", "standin"}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("registry.example.com/group/app", "registry.example.com"),
        ("localhost/app", "localhost"),
        ("registry:5000/app", "registry:5000"),
        ("group/app", None),
        ("app.example.com", None),
    ],
)
def test_no_password_goes_to_docker_hub_by_mistake(
    template: Template, image: str, registry: str | None
) -> None:
    account: dict[str, Any] = {"CI_REGISTRY_USER": "u", "CI_REGISTRY_PASSWORD": "p"}
    ran = template.run({"image": image}, CI_REGISTRY="", **account)
    logins = [call for call in ran.calls if call[0] == "login"]
    assert [call[-1] for call in logins] == ([registry] if registry else [])
    assert ran.code == (0 if registry else 1), ran.output
    if not registry:
        assert "error: the input 'registry' is empty, and the image names none" in ran.output
    # Without an account nobody logs in anywhere.
    assert template.run({"image": image}, CI_REGISTRY="", CI_REGISTRY_USER="").code == 0


def test_no_login_is_an_error_only_where_something_is_pushed(template: Template) -> None:
    account: dict[str, Any] = {
        "CI_REGISTRY": "r",
        "CI_REGISTRY_USER": "u",
        "CI_REGISTRY_PASSWORD": "p",
    }
    ran = template.run(STANDIN_LOGIN="1", **account)
    assert ran.code == 1, ran.output
    assert "no login to r as u: nothing could be pushed" in ran.output
    assert template.run({"push": "never"}, STANDIN_LOGIN="1", **account).code == 0


# --- what the last lines say

COLD = """#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#2 [build 1/4] FROM registry.example.com/base@sha256:00
#2 CACHED
#3 [build 2/4] COPY a b
#3 DONE 0.5s
#4 [build 3/4] RUN make
#4 1.2 #9 CACHED is what a command may say
#4 DONE 12.3s
#5 [stage-1 2/2] COPY --from=build /a /a
#5 DONE 0.1s
"""
WARM = """#2 [build 1/4] FROM registry.example.com/base@sha256:00
#2 CACHED
#5 [build 2/5] COPY a b
#5 CACHED
#6 [build 3/5] RUN make
#6 CACHED
#7 [build 4/5] RUN new
#7 DONE 1.0s
#8 [stage-1 2/2] COPY --from=build /a /a
#8 DONE 0.1s
"""


def test_what_was_reused_and_saved_is_told(template: Template) -> None:
    cold = template.run(output=COLD)
    assert "docker-build: 0 of 3 steps CACHED" in cold.output
    assert "time saved: none" in cold.output
    warm = template.run(output=WARM)
    assert "docker-build: 2 of 4 steps CACHED" in warm.output
    assert "time saved: about 12.8 s, the last known time of 2 of the 2" in warm.output
    # In the context of the build, the record would change what is built.
    assert ".docker-build" not in (warm.folder / "standin/context").read_text()


@pytest.mark.parametrize("line", ["extracting sha256:aa 0.2s done", "sha256:aa 1B / 1B done"])
def test_what_was_only_fetched_is_reused(template: Template, line: str) -> None:
    template.run(output=COLD)
    fetched = f"#6 {line}\n#6 DONE 0.3s\n"
    ran = template.run(output=WARM.replace("#6 CACHED\n", fetched))
    assert "docker-build: 2 of 4 steps CACHED" in ran.output
    assert "time saved: about 12.5 s, the last known time of 2 of the 2" in ran.output


def test_nothing_is_claimed_that_is_not_known(template: Template) -> None:
    ran = template.run(output=WARM)
    assert "2 of 4 steps CACHED" in ran.output
    assert "time saved: not known, no earlier job's record has the 2 reused steps" in ran.output


def test_a_record_that_was_tampered_with_does_no_harm(template: Template) -> None:
    record = template.folder / "work/.docker-build/docker-build"
    record.parent.mkdir(parents=True)
    record.write_text("abc\t[build] RUN make\n\t\n$(id)\n-5\t[build] COPY a b\n")
    ran = template.run(output=WARM)
    assert ran.code == 0, ran.output
    assert re.search(r"time saved: about 0\.0 s", ran.output)


PUSH, REACH, BUILD = "could not be pushed to", "could not be reached", "output above tells why"
# What a RUN writes, and how it is written, says nothing of a registry.
FAILED_STEP = """#4 [2/2] RUN echo denied: && wget http://away
#4 0.213 denied: failed to push
#4 0.214 wget: Connection refused, no such host
#4 ERROR: process "/bin/sh -c echo denied: && wget http://away" did not complete: exit code: 1
------
 > [2/2] RUN echo denied: && wget http://away:
0.213 denied: failed to push
0.214 wget: Connection refused, no such host
------
ERROR: failed to solve: process "/bin/sh -c echo denied:" did not complete: exit code: 1
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("#9 pushing layers\n#9 ERROR: dial tcp: connection refused\n", PUSH),
        (
            "#9 pushing r/a with docker\n#9 ERROR: denied: no access\nERROR: denied: no access\n",
            PUSH,
        ),
        ("ERROR: failed to push r/a: denied\n", PUSH),
        ("ERROR: b: failed to resolve source metadata for b\n", REACH),
        ("ERROR: b: failed to resolve source metadata for b: pull access denied\n", REACH),
        ("#4 [2/2] RUN false\n#4 ERROR: exit code: 1\n", BUILD),
        (FAILED_STEP, BUILD),
        (f"#3 importing cache\n#3 ERROR: denied: no access\n{FAILED_STEP}", BUILD),
        (f"#9 pushing layers\n#9 DONE 0.1s\n{FAILED_STEP}", BUILD),
    ],
)
def test_a_build_that_fails_says_what_failed(template: Template, output: str, said: str) -> None:
    ran = template.run(output=output, STANDIN_BUILD="7")
    assert ran.code == 1
    assert said in ran.output.splitlines()[-1]


def test_a_cache_that_cannot_be_written_is_a_warning(template: Template) -> None:
    output = (
        COLD + "#10 exporting cache to registry\n#10 ERROR: error writing layer blob: refused\n"
    )
    ran = template.run(
        {"mode": "registry"}, output=output, STANDIN_STORE="io.containerd.snapshotter"
    )
    assert ran.code == 0
    assert f"warning: the cache was not written to {IMAGE}/cache:default" in ran.output
