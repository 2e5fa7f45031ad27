"""GitLab's stand-in on loopback: its answers to runners, jobs, git and the lab."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.console import LabError
from lab.gitlab import PROJECT, Artifacts, Cache, Git, Job, Result, Service, Variable, ci, client
from lab.gitlab.server import api
from lab.gitlab.server import jobs as state
from lab.gitlab.server.api import Server
from lab.paths import BIN
from tests.required import missing

RUNNER = state.runner_token("key", "gitlab-runner")


class GitLab:
    """A server, asked as the runner asks it: over one connection that is kept."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(("127.0.0.1", 0), folder, "key", "admin")
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        data = json.dumps(body) if isinstance(body, dict) else body
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(
            method, f"/api/v4/{path}", data, fields, encode_chunked=not isinstance(data, str | None)
        )
        response = self.connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        return response

    def take(self, token: str = RUNNER) -> dict[str, Any]:
        answer = self.ask("POST", "jobs/request", {"token": token, "system_id": "r_1"})
        assert answer.status == 201
        job: dict[str, Any] = json.loads(answer.body)  # type: ignore[attr-defined]
        return job

    def log(self, job: dict[str, Any], text: str, start: int = 0) -> http.client.HTTPResponse:
        return self.ask(
            "PATCH",
            f"jobs/{job['id']}/trace",
            text,
            JOB_TOKEN=job["token"],
            Content_Range=f"{start}-{start + len(text) - 1}",
        )

    def end(self, job: dict[str, Any], **fields: Any) -> http.client.HTTPResponse:
        body = {"token": job["token"], "state": "success", **fields}
        return self.ask("PUT", f"jobs/{job['id']}", body)

    def upload(self, job: dict[str, Any], data: bytes, token: str = "") -> int:
        head = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        return self.ask(
            "POST",
            f"jobs/{job['id']}/artifacts?artifact_type=archive&artifact_format=zip",
            iter([head, data, b"\r\n--limit--\r\n"]),
            JOB_TOKEN=token or job["token"],
            Content_Type="multipart/form-data; boundary=limit",
            Transfer_Encoding="chunked",
        ).status

    def push(self, files: dict[str, bytes]) -> str:
        repository = str(self.folder / f"{PROJECT}.git")
        return (
            subprocess.run(
                ["/bin/sh", "-c", client._PUSH, "push", repository, "change", "main"],
                input=client.packed(files),
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .strip()
        )

    def clone(self, address: str, target: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "clone", "-q", address, str(target)],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def gitlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLab]:
    made = GitLab(tmp_path)
    monkeypatch.setattr(client, "_address", lambda: made.url)
    monkeypatch.setattr(client, "_admin_token", lambda: "admin")
    monkeypatch.setattr("lab.gitlab.server.api._LONG_POLL_SECONDS", 0.3)
    yield made
    made.connection.close()
    made.server.shutdown()
    made.server.server_close()


def job(**fields: Any) -> Job:
    return Job("try", Git("0" * 40), 42, PROJECT, ("true",), **fields)


def in_background(work: Callable[[], Result]) -> Callable[[], Result]:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def result() -> Result:
        thread.join(30)
        return results[0]

    return result


def test_a_runner_is_known_by_its_token(gitlab: GitLab) -> None:
    good = gitlab.ask("POST", "runners/verify", {"token": RUNNER, "system_id": "r_1"})
    assert good.status == 200
    assert good.headers["Content-Type"] == "application/json"
    assert json.loads(good.body)["id"] > 0  # type: ignore[attr-defined]
    for token in ("", "glrt-", RUNNER[:-1], RUNNER.replace(".gitlab", ".other"), "glrt-x."):
        assert gitlab.ask("POST", "runners/verify", {"token": token}).status == 403
    assert client.runners() == {"gitlab-runner": ("r_1",)}
    body = {"token": RUNNER, "system_id": "r_1"}
    assert gitlab.ask("DELETE", "runners/managers", body).status == 204
    assert client.runners() == {"gitlab-runner": ()}


def test_a_job_runs_to_its_end(gitlab: GitLab) -> None:
    number = client.submit(job())
    assert client.state(number) == "pending"
    got = gitlab.take()
    assert got["id"] == number
    assert client.state(number) == "running"
    shown: list[str] = []
    result = in_background(lambda: client.wait(number, show=shown.append))
    answer = gitlab.log(got, "2026-01-01T00:00:00.000000Z 00O one\n")
    assert (answer.status, answer.headers["Job-Status"]) == (202, "running")
    assert answer.headers["Range"] == "0-36"
    assert gitlab.end(got, state="running").status == 200
    gitlab.log(got, "2026-01-01T00:00:01.500000Z 00O two\n", 36)
    assert (
        gitlab.end(got, state="failed", failure_reason="script_failure", exit_code=3).status == 200
    )
    ended = result()
    assert (ended.status, ended.failure_reason, ended.exit_code) == ("failed", "script_failure", 3)
    assert [line.text for line in ended.trace] == shown == ["one", "two"]
    assert ended.trace[1].seconds - ended.trace[0].seconds == pytest.approx(1.5)
    assert ended.queued >= 0
    assert not ended.succeeded


def test_a_job_is_given_to_its_runner_and_once(gitlab: GitLab) -> None:
    number = client.submit(job(), "other")
    request = {"token": RUNNER}
    assert gitlab.ask("POST", "jobs/request", request).status == 204
    assert gitlab.take(state.runner_token("key", "other"))["id"] == number
    assert (
        gitlab.ask("POST", "jobs/request", {"token": state.runner_token("key", "other")}).status
        == 204
    )
    assert gitlab.ask("POST", "jobs/request", {"token": "glrt-x.other"}).status == 403


def test_a_waiting_runner_gets_a_job_at_once(gitlab: GitLab, monkeypatch: Any) -> None:
    monkeypatch.setattr("lab.gitlab.server.api._LONG_POLL_SECONDS", 30.0)
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(gitlab.take()), daemon=True)
    waiting.start()
    number = client.submit(job())
    waiting.join(20)
    assert [one["id"] for one in taken] == [number]


def test_a_runner_that_went_away_gets_no_job(gitlab: GitLab, monkeypatch: Any) -> None:
    monkeypatch.setattr("lab.gitlab.server.api._LONG_POLL_SECONDS", 30.0)
    gone = http.client.HTTPConnection("127.0.0.1", gitlab.port)
    gone.request("POST", "/api/v4/jobs/request", json.dumps({"token": RUNNER, "system_id": "g"}))
    while not client.runners():
        time.sleep(0.01)
    gone.close()
    number = client.submit(job())
    assert gitlab.take()["id"] == number


def test_a_lost_answer_queues_no_second_job(gitlab: GitLab) -> None:
    payload = ci.payload(job())
    numbers = {gitlab.server.jobs.submit("key", "gitlab-runner", payload, []) for _ in range(2)}
    assert len(numbers) == 1


def test_a_trace_has_no_gap(gitlab: GitLab) -> None:
    number = client.submit(job())
    got = gitlab.take()
    gitlab.log(got, "abc")
    for start, text in ((5, "gap"), (0, "abc"), (2, "overlap")):
        answer = gitlab.log(got, text, start)
        assert (answer.status, answer.headers["Range"]) == (416, "0-3")
    wrong = gitlab.ask("PATCH", f"jobs/{number}/trace", "x", JOB_TOKEN=got["token"])
    assert wrong.status == 400
    wrong = gitlab.ask(
        "PATCH", f"jobs/{number}/trace", "x", JOB_TOKEN=got["token"], Content_Range="3-9"
    )
    assert wrong.status == 416
    output = {"checksum": f"crc32:{zlib.crc32(b'other'):08x}", "bytesize": 5}
    assert gitlab.end(got, output=output).status == 412
    assert gitlab.log(got, "other").status == 202
    assert gitlab.end(got, output=output).status == 200
    assert client.wait(number).raw == b"other"


@pytest.mark.parametrize("token", ["", "glcbt-none"])
def test_a_job_is_told_of_with_its_token_alone(gitlab: GitLab, token: str) -> None:
    client.submit(job())
    client.submit(job())
    got, other = gitlab.take(), gitlab.take()
    for wrong in ({**got, "token": token}, {**got, "token": other["token"]}):
        assert gitlab.log(wrong, "x").status == 403
        assert gitlab.end(wrong).status == 403
        assert gitlab.upload(wrong, b"x") == 403
    assert gitlab.log({**got, "id": 1}, "x").status == 404
    assert client.state(got["id"]) == "running"
    gitlab.end(got)
    late = gitlab.log(got, "x")
    assert (late.status, late.headers["Job-Status"]) == (403, "success")


def test_a_canceled_job_ends_when_its_runner_says_so(gitlab: GitLab) -> None:
    number = client.submit(job())
    got = gitlab.take()
    client.cancel(number)
    assert client.state(number) == "canceling"
    assert gitlab.log(got, "x").headers["Job-Status"] == "canceling"
    assert gitlab.end(got, state="running").headers["Job-Status"] == "canceling"
    gitlab.end(got, state="failed", failure_reason="job_canceled")
    result = client.wait(number)
    assert (result.status, result.succeeded) == ("canceled", False)
    waiting = client.submit(job())
    client.cancel(waiting)
    assert client.wait(waiting).status == "canceled"
    assert gitlab.ask("POST", "jobs/request", {"token": RUNNER}).status == 204


def test_a_job_that_takes_too_long_is_canceled(gitlab: GitLab) -> None:
    number = client.submit(job())
    with pytest.raises(LabError, match="no runner took it"):
        client.wait(number, 0)
    assert client.state(number) == "canceled"
    with pytest.raises(LabError, match="404 Not Found"):
        client.state(7)


def test_artifacts_reach_the_jobs_that_need_them(gitlab: GitLab) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", os.urandom(3 << 20))
    data = archive.getvalue()
    first = client.submit(job(artifacts=(Artifacts(("a",)),)))
    got = gitlab.take()
    assert got["artifacts"][0]["artifact_type"] == "archive"
    assert gitlab.upload(got, data) == 201
    assert gitlab.upload(got, data) == 400
    gitlab.end(got)
    assert client.artifacts(first) == data
    with pytest.raises(LabError, match="404"):
        client.artifacts(first, "dotenv")
    client.submit(job(dependencies=(first,)))
    client.submit(job())
    needs, other = gitlab.take(), gitlab.take()
    (dependency,) = needs["dependencies"]
    assert dependency["artifacts_file"] == {"filename": "a.zip", "size": len(data)}
    path = f"jobs/{dependency['id']}/artifacts"
    answer = gitlab.ask("GET", path, JOB_TOKEN=dependency["token"])
    assert (answer.status, answer.body) == (200, data)  # type: ignore[attr-defined]
    for token in (other["token"], got["token"], ""):
        assert gitlab.ask("GET", path, JOB_TOKEN=token).status == 403
    path = f"jobs/{needs['id']}/artifacts"
    assert gitlab.ask("GET", path, JOB_TOKEN=needs["token"]).status == 404


def test_a_job_clones_its_own_project_while_it_runs(gitlab: GitLab, tmp_path: Path) -> None:
    files = {f"file-{n}": os.urandom(1 << 16) for n in range(20)}
    sha = gitlab.push(files)
    client.submit(job())
    got = gitlab.take()
    address = got["git_info"]["repo_url"]
    target = tmp_path / "clone"
    assert gitlab.clone(address, target).returncode == 0
    assert (target / "file-7").read_bytes() == files["file-7"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=target, capture_output=True, text=True)
    assert head.stdout.strip() == sha
    pushed = subprocess.run(
        ["git", "push", "-q", "origin", "HEAD:new"], cwd=target, capture_output=True, text=True
    )
    assert pushed.returncode != 0
    assert "403" in pushed.stderr
    other = gitlab.clone(address.replace("demo/app", "demo/other"), tmp_path / "other")
    assert "403" in other.stderr
    user = gitlab.clone(address.replace("gitlab-ci-token", "root"), tmp_path / "user")
    assert user.returncode != 0
    gitlab.end(got)
    late = gitlab.clone(address, tmp_path / "late")
    assert late.returncode != 0


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "Basic admin"])
def test_jobs_in_the_cluster_cannot_use_the_labs_api(gitlab: GitLab, header: str) -> None:
    client.submit(job())
    for method, path in (("GET", "runners"), ("POST", "jobs"), ("GET", "jobs/1")):
        answer = gitlab.ask(method, f"../../lab/{path}", {}, Authorization=header)
        assert answer.status in {401, 404}
        gitlab.connection.request(method, f"/lab/{path}", "{}", {"Authorization": header})
        response = gitlab.connection.getresponse()
        response.read()
        assert response.status == 401


def test_the_log_has_no_tokens(gitlab: GitLab, capfd: pytest.CaptureFixture[str]) -> None:
    number = client.submit(job())
    got = gitlab.take()
    gitlab.ask("GET", f"jobs/{number}/artifacts?token={got['token']}", JOB_TOKEN=got["token"])
    gitlab.end(got)
    client.wait(number)
    output = capfd.readouterr().err
    assert f"job {number} goes to the runner gitlab-runner" in output
    assert f"PUT /api/v4/jobs/{number} 200" in output
    for secret in (got["token"], RUNNER, "admin"):
        assert secret not in output


def test_the_server_needs_no_more_than_python(tmp_path: Path) -> None:
    shutil.copytree(Path(api.__file__).parent, tmp_path / "server")
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("runner", "admin"):
        (keys / name).write_text("key")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        # Without this project's directory and its virtual environment.
        [sys.executable, "-S", "-m", "server", str(port), str(tmp_path), str(keys), "http://g"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            try:
                connection.request("POST", "/api/v4/runners/verify", json.dumps({"token": RUNNER}))
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        assert connection.getresponse().status == 200
    finally:
        process.terminate()
        output = process.communicate(timeout=20)[1]
    assert process.returncode == 0, output


def test_the_pod_rolls_with_its_program_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.images.reference", lambda key: key)
    monkeypatch.setattr(client, "_admin_token", lambda: "admin-token")

    def template(key: str) -> dict[str, Any]:
        monkeypatch.setattr(client, "_runner_key", lambda: key)
        (deployment,) = (one for one in client._objects() if one["kind"] == "Deployment")
        found: dict[str, Any] = deployment["spec"]["template"]
        return found

    assert template("one") == template("one")
    assert template("one") != template("two")
    assert "admin-token" not in json.dumps(template("one"))


CONFIG = """
concurrent = 3
check_interval = 1
[[runners]]
  name = "runner"
  url = "{url}"
  token = "{token}"
  executor = "kubernetes"
  [runners.kubernetes]
    host = "http://127.0.0.1:1"
    image = "image"
"""


class Runner:
    """GitLab Runner itself, which asks the server. Its Kubernetes does not answer."""

    def __init__(self, gitlab: GitLab, folder: Path) -> None:
        self.gitlab = gitlab
        self.config = folder / "config.toml"

    def command(self, name: str, *arguments: str) -> list[str]:
        return [str(BIN / "gitlab-runner"), name, "--config", str(self.config), *arguments]

    def call(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )

    def register(self, token: str) -> subprocess.CompletedProcess[str]:
        return self.call(
            *("register", "--non-interactive", "--executor", "kubernetes"),
            *("--url", self.gitlab.url, "--token", token),
        )


@pytest.fixture
def runner(gitlab: GitLab, tmp_path: Path) -> Runner:
    if not (BIN / "gitlab-runner").exists():
        missing("gitlab-runner is not built (make up)")
    return Runner(gitlab, tmp_path)


def test_the_runner_registers_verifies_and_leaves(runner: Runner) -> None:
    refused = runner.register(RUNNER[:-1])
    assert "is not valid" in refused.stdout
    assert not runner.config.exists()
    registered = runner.register(RUNNER)
    assert registered.returncode == 0, registered.stdout
    assert RUNNER in runner.config.read_text()
    verified = runner.call("verify")
    assert (verified.returncode, "is valid" in verified.stdout) == (0, True), verified.stdout
    assert len(client.runners()["gitlab-runner"]) == 1
    left = runner.call("unregister", "--all-runners")
    assert "succeeded" in left.stdout
    assert client.runners() == {"gitlab-runner": ()}


def test_the_runner_takes_jobs_and_reports_them(runner: Runner, monkeypatch: Any) -> None:
    monkeypatch.setattr("lab.gitlab.server.api._LONG_POLL_SECONDS", 5.0)
    runner.config.write_text(CONFIG.format(url=runner.gitlab.url, token=RUNNER))
    full = job(
        after_script=("true",),
        services=(Service("docker", "d", variables=(Variable("A", "b"),)),),
        cache=(Cache("key", ("vendor/",), fallback_keys=("other",)),),
        artifacts=(Artifacts(("out/",), expire_in="1 day"),),
        variables=(Variable("MASKED", "127.0.0.1:1", masked=True),),
        hooks={"pre_get_sources_script": ("true",)},
    )
    numbers = [client.submit(full), client.submit(job())]
    with (runner.config.parent / "log").open("w") as log:
        process = subprocess.Popen(runner.command("run"), stdout=log, stderr=log)
    try:
        while client.state(numbers[1]) == "pending":
            time.sleep(0.05)
        # The runner runs both at once.
        assert client.state(numbers[0]) == "running"
        client.cancel(numbers[1])
        failed, canceled = (client.wait(number, 60) for number in numbers)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
    assert (failed.status, failed.failure_reason) == ("failed", "runner_system_failure")
    assert "connection refused" in failed.text
    assert "[MASKED]" in failed.text
    assert "127.0.0.1:1/" not in failed.text
    assert {"prepare_executor", "prepare_script"} <= set(failed.seconds)
    times = [line.seconds for line in failed.trace]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= failed.job_seconds
    heading = next(line for line in client.log(failed).splitlines() if "Preparing the" in line)
    assert re.search(r"\[\d\d:\d\d\]$", heading)
    assert canceled.status == "canceled"


def test_the_helper_uploads_and_downloads_artifacts(
    gitlab: GitLab, runner: Runner, tmp_path: Path
) -> None:
    def helper(command: str, folder: Path, job: dict[str, Any], *arguments: str) -> str:
        folder.mkdir(exist_ok=True)
        result = subprocess.run(
            [
                *(str(BIN / "gitlab-runner"), command, "--url", gitlab.url, *arguments),
                *("--token", job["token"]),
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return result.stdout

    def upload(folder: Path, job: dict[str, Any], path: str, kind: str, form: str) -> str:
        return helper(
            *("artifacts-uploader", folder, job, "--id", str(job["id"]), "--path", path),
            *("--artifact-type", kind, "--artifact-format", form),
        )

    first = client.submit(job())
    got = gitlab.take()
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(3 << 20))
    (source / "build.env").write_text("VERSION=1.2\nNAME='app'\n")
    assert "201 Created" in upload(source, got, "big", "archive", "zip")
    assert "201 Created" in upload(source, got, "build.env", "dotenv", "gzip")
    gitlab.end(got)
    assert "403 Forbidden" in upload(source, got, "big", "archive", "zip")
    client.submit(job(dependencies=(first,)))
    needs = gitlab.take()
    assert {"key": "VERSION", "value": "1.2", "public": False, "masked": False} in needs[
        "variables"
    ]
    output = helper("artifacts-downloader", target, needs, "--id", str(first))
    assert (target / "big").read_bytes() == (source / "big").read_bytes(), output
