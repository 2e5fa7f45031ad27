"""The command line, which reads events, writes the report and the note, and sets the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from preview import events, gitlab, masking, note

FAILED, USAGE, POLICY, NOTE = 1, 2, 3, 4

_EPILOG = """exit codes:
  0  the preview went well
  1  the engine failed, or the program did
  2  bad arguments, or events that are not the engine's
  3  a mandatory policy is violated
  4  GitLab refused the note: the token or its rights are wrong
An unreachable GitLab is a warning: the preview itself went well."""


def _limit(text: str) -> int:
    value = int(text)
    if value < note.SMALLEST_LIMIT:
        raise argparse.ArgumentTypeError(f"must be at least {note.SMALLEST_LIMIT}")
    return value


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "preview",
        description="Write a merge request's report and note from the events of 'pulumi preview'.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("events", type=Path, help="event log of 'pulumi preview --event-log'")
    add("--stack", required=True, help="name of the stack")
    add("--directory", default=".", help="directory of the Pulumi project in the repository")
    add("--engine-exit-code", type=int, default=0, help="exit code of 'pulumi preview'")
    add("--report", type=Path, help="file to write for artifacts:reports:terraform")
    add("--note", type=Path, help="file to write the note to")
    add(
        "--limit",
        type=_limit,
        default=note.DEFAULT_LIMIT,
        help="maximum length of the note, in characters (default: %(default)s)",
    )
    add(
        "--mask-variable",
        action="append",
        default=[],
        metavar="NAME",
        help="environment variable whose value is masked; variables with a name like TOKEN, "
        "PASSWORD or SECRET are always masked",
    )
    add(
        "--token-variable",
        metavar="NAME",
        help="environment variable with the token; if it is empty, no note is written to GitLab",
    )
    add(
        "--note-when-unchanged",
        action="store_true",
        help="create a note even if nothing changes; an existing note is always updated",
    )
    return parser.parse_args(arguments)


def _masker(names: Sequence[str], environment: Mapping[str, str]) -> masking.Masker:
    """Return the masker.

    Raises:
        ValueError: a value is too short to be masked.
    """
    variables = {name: environment.get(name, "") for name in names}
    short = [name for name, value in variables.items() if 0 < len(value) < masking.MINIMUM]
    if short:
        raise ValueError(
            f"too short to be masked (less than {masking.MINIMUM} characters): {', '.join(short)}"
        )
    values = [value for value in variables.values() if value]
    values += masking.named_like_secrets(environment)
    # The value of a file variable is a path, and the secrets are in the file.
    values += [secret for value in values for secret in masking.in_file(value)]
    return masking.Masker(values)


def _post(
    body: str, about: note.About, token: str, environment: Mapping[str, str], create: bool
) -> int:
    """Create or update the note. Return 0, or NOTE if GitLab refused it."""
    # The pipeline of a fork runs in another project than its merge request.
    project = environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment.get("CI_PROJECT_ID", "")
    iid = environment.get("CI_MERGE_REQUEST_IID", "")
    if not iid:
        print("note: this pipeline has no merge request; no note was written", file=sys.stderr)
        return 0
    try:
        notes = gitlab.Notes(environment.get("CI_API_V4_URL", ""), project, iid, token)
        result = notes.keep(body, about.marker, create=create)
    except gitlab.NoteError as error:
        print(f"{'error' if error.refused else 'warning'}: no note: {error}", file=sys.stderr)
        return NOTE if error.refused else 0
    print(f"note: {result}", file=sys.stderr)
    return 0


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command, and return its exit code."""
    options = _arguments(arguments)
    try:
        token = environment.get(options.token_variable or "", "").strip()
        names = [*options.mask_variable, *([options.token_variable] if token else [])]
        mask = _masker(names, environment)
        # The engine writes no file if it fails before its first event.
        text = options.events.read_text(encoding="utf-8") if options.events.exists() else ""
        preview = events.read(text.split("\n"), mask)
    except (ValueError, OSError, events.BadEvents) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    failed = bool(options.engine_exit_code or preview.errors) or not preview.complete
    about = note.About(
        options.stack,
        options.directory,
        environment.get("CI_JOB_URL", ""),
        environment.get("CI_COMMIT_SHORT_SHA", ""),
    )
    body = note.render(preview, about, mask, failed=failed, limit=options.limit)
    if options.report:
        options.report.write_text(json.dumps(events.terraform_report(preview)) + "\n")
    if options.note:
        options.note.write_text(body, encoding="utf-8")
    print(mask(f"{options.stack}: {note.summary(preview, failed).replace('*', '')}"))
    create = preview.changed or failed or preview.refused or options.note_when_unchanged
    posted = _post(body, about, token, environment, create) if token else 0
    if preview.refused:
        return POLICY
    return FAILED if failed else posted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
