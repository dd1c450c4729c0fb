"""The container files, checked without an engine: the schema, and that they do what `make` and the command line do."""

import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from node.cli.commands import swarm

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def steps(instruction: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(instruction + " ")]


def test_the_compose_file_follows_its_schema():
    program = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_set_up_by_make_and_by_nothing_else():
    assert any(re.match(r"make setup\b", step) for step in steps("RUN"))
    assert not any(re.search(r"\bpip3? |\bpython3? -m ", step) for step in steps("RUN"))


def test_the_image_gets_every_file_that_its_setup_and_its_node_need():
    copied = {word for step in steps("COPY") for word in step.split()[:-1]}
    rule = re.search(r"^\$\(VENV\)/\.installed: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule
    assert copied >= {*rule[1].split(), "swarm", "gossip", "node", "experiments", "configs", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_does_not_run_as_root_and_stops_like_a_person_would():
    assert steps("USER") == ["swarm"]
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")
    assert steps("STOPSIGNAL") == ["SIGTERM"]


def test_a_bootstrap_node_and_two_that_research_each_with_a_home_that_stays():
    assert set(SERVICES) == {"bootstrap", "node-a", "node-b"}
    (home,) = steps("VOLUME")
    homes = [v.split(":")[0] for s in SERVICES.values() for v in s["volumes"] if v.split(":")[1] == home]
    assert len(set(homes)) == 3
    assert {v.split(":")[0] for service in SERVICES.values() for v in service["volumes"]} <= set(COMPOSE["volumes"])


def arguments(name: str) -> list[str]:
    """The command line of a service, as the container runs it."""
    service = SERVICES[name]
    entry = service.get("entrypoint")
    if entry is None:
        return service["command"]
    script = entry[2].replace("$$", "$")
    words = shlex.split(script)
    assert words[:2] == ["exec", "swarm"]
    return [*(word for word in words[2:] if word != "$@"), *service["command"]]


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_services_command_is_one_that_the_program_takes(name):
    command, *options = arguments(name)
    parser = swarm.commands[command]
    assert isinstance(parser, click.Command)
    known = {flag for option in parser.params for flag in option.opts}
    assert {word for word in options if word.startswith("--")} <= known


def test_who_joins_waits_for_the_ticket_it_joins_with():
    (ticket,) = [w for w in SERVICES["bootstrap"]["command"] if w.startswith("/ticket/")]
    assert ticket in SERVICES["bootstrap"]["healthcheck"]["test"]
    for name in ("node-a", "node-b"):
        assert SERVICES[name]["depends_on"] == {"bootstrap": {"condition": "service_healthy"}}
        assert f"$(cat {ticket})" in " ".join(arguments(name))
