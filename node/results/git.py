"""Running git on the results repository: which program, which settings, what its failures say.

Owns the command line and the environment of git. What is stored in the repository is the business of `results.py`.
Nothing of a person's own git set-up reaches our commits: no identity, no hooks, no signing, no line-end conversion.
"""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import trio

from node.text import clean
from swarm.words import SwarmError

# Given on the command line, so that they win over the repository's own config file too.
_SETTINGS = {
    "core.hooksPath": os.devnull,  # fast-import runs no commit hooks, but a reference-transaction hook would run
    "core.fsync": "objects,reference",  # a commit that was reported survives a power cut; older git ignores the key
    "core.autocrlf": "false",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "commit.gpgSign": "false",
    "push.gpgSign": "false",
    "gc.cruftPacks": "true",  # what no branch has stays packed
    "gc.autoDetach": "false",  # no process of ours outlives us
    "safe.directory": "*",  # the home is ours; a container may see it under another owner
    "protocol.version": "2",
}
_CREDENTIALS = re.compile(r"(?<=://)\S*@")  # up to the last @, whatever a password contains
_QUERY = re.compile(r"(?<=\?)[^\s'\"]+")


class ResultsError(SwarmError):
    """The results repository cannot be read or written."""


class GitFailed(ResultsError):
    """git itself refused. `line` is the first line that says why."""

    def __init__(self, message: str, line: str) -> None:
        super().__init__(message)
        self.line = line


def mask_credentials(text: str) -> str:
    return _QUERY.sub("***", _CREDENTIALS.sub("***@", text))


class Git:
    """git on one repository, whoever else's directory the process happens to be in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = path / ".git"

    async def run(self, *arguments: str, stdin: bytes = b"", config: Mapping[str, str] | None = None) -> bytes:
        """Standard output of one git command. Raises GitFailed with git's first error line."""
        return await self._run(arguments, stdin, _own_environment(), config or {})

    async def run_as_person(self, *arguments: str) -> bytes:
        """Like `run`, but with the person's own git settings: credentials, proxies. Never asks anything."""
        return await self._run(arguments, b"", await self._persons_environment(), {})

    async def _run(
        self, arguments: tuple[str, ...], stdin: bytes, environment: dict[str, str], config: Mapping[str, str]
    ) -> bytes:
        settings = [part for key, value in {**_SETTINGS, **config}.items() for part in ("-c", f"{key}={value}")]
        where = [f"--git-dir={self.directory}", f"--work-tree={self.path}"]
        try:
            done = await trio.run_process(
                ["git", *settings, *where, "--no-pager", *arguments],
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                cwd=self.path,
                env=environment,
                start_new_session=True,  # Ctrl-C on the terminal is for the node, which ends git in order
                deliver_cancel=_end_group,
            )
        except FileNotFoundError:
            raise ResultsError(
                f"results repository {self.path} cannot be opened: it does not exist"
                if not self.path.is_dir()
                else "git was not found: results are kept in a git repository, install git and start again"
            ) from None
        if done.returncode:
            line = _first_error_line(done.stderr, done.returncode)
            raise GitFailed(f"results repository {self.path}: git {arguments[0]} failed: {line}", line)
        return done.stdout

    async def _persons_environment(self) -> dict[str, str]:
        environment = _without_git_variables() | {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": ""}
        ssh = os.environ.get("GIT_SSH_COMMAND") or await self._configured_ssh(environment) or "ssh"
        return environment | {"GIT_SSH_COMMAND": f"{ssh} -o BatchMode=yes"}

    async def _configured_ssh(self, environment: dict[str, str]) -> str:
        # Asked for because the environment variable that adds BatchMode would silently replace it.
        try:
            return (await self._run(("config", "--get", "core.sshCommand"), b"", environment, {})).decode().strip()
        except GitFailed:  # git's way of saying: not set
            return ""


def _without_git_variables() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {"LC_ALL": "C", "LANGUAGE": "C"}  # error lines in one language


def _own_environment() -> dict[str, str]:
    return _without_git_variables() | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
    }


def _first_error_line(stderr: bytes, returncode: int) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: error", "!", "ssh:"))]
    if not lines:
        return f"ended by signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
    return clean(mask_credentials((telling or lines)[0]), 300)


async def _end_group(process: trio.Process) -> None:
    """git and what it started (ssh, a remote helper), politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        with trio.move_on_after(1):  # second; git needs milliseconds
            await process.wait()
