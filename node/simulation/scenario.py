"""What a scenario file may say: a swarm, its network, its machines, and what goes wrong.

Owns the models and one clear sentence for each way a file can be wrong. What a fault does is node/simulation/faults.py.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.simulation.landscape import Name as LandscapeName
from node.topics.topic_file import closest
from swarm.words import SwarmError

MAX_FILE_BYTES = 64 * 1024
MAX_MEMBERS = 2000  # at this tier a node is a real one and holds every record
Share = Annotated[float, Field(ge=0, le=1)]
Minutes = Annotated[float, Field(ge=0, le=7 * 24 * 60)]
Count = Annotated[int, Field(ge=1, le=MAX_MEMBERS)]


class ScenarioError(SwarmError):
    """A scenario file is missing or breaks a rule: wrong usage."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class NetworkConditions(Part):
    latency_ms: float = Field(default=40.0, ge=0, le=10_000)  # of a link, on average
    loss: Share = 0.0  # of broadcast frames, by link


class Machines(Part):
    """A hardware class and how many of the nodes have it."""

    hardware_class: str = Field(default="cpu-simulated-1", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    budget_seconds: float = Field(default=120.0, gt=0, le=86_400)
    speed: float = Field(default=1.0, gt=0, le=1e5)  # text seen in a budget, of the recorded trials' machine
    nodes: Count = 1


class Churn(Part):
    """Nodes die as if killed, and come back with their home."""

    kind: Literal["churn"]
    share_per_hour: float = Field(gt=0, le=60)
    away_seconds: float = Field(default=300.0, gt=0)  # on average


class Partition(Part):
    """The network comes apart into groups that hear nothing of each other, and heals."""

    kind: Literal["partition"]
    at_minutes: Minutes
    minutes: Minutes
    groups: int = Field(default=2, ge=2, le=16)


class Late(Part):
    """More nodes, that join once there are so many findings."""

    kind: Literal["late"]
    nodes: Count
    after_findings: int = Field(ge=0)


class Restarts(Part):
    """A share of all nodes is killed at the same moment and started again, several times."""

    kind: Literal["restarts"]
    at_minutes: Minutes
    share: Share = 1.0
    times: int = Field(default=3, ge=1, le=100)
    every_seconds: float = Field(default=60.0, gt=0)


class Flood(Part):
    """One more peer that sends records without end."""

    kind: Literal["flood"]
    at_minutes: Minutes = 0.0
    minutes: Minutes
    records_per_second: float = Field(default=50.0, gt=0, le=10_000)


class Liars(Part):
    """More nodes, that say of everything but the baseline that it came out better."""

    kind: Literal["liars"]
    nodes: Count
    sigmas: float = Field(gt=0, le=1000)  # standard deviations of a trial


class Copycats(Part):
    """More nodes, that train nothing and sign others' improvements as their own."""

    kind: Literal["copycats"]
    nodes: Count


class Sybils(Part):
    """Identities of one operator: the first makes claims without a trial, the others say they saw the same."""

    kind: Literal["sybils"]
    identities: int = Field(ge=2, le=MAX_MEMBERS)
    sigmas: float = Field(default=10.0, gt=0, le=1000)
    every_minutes: float = Field(default=20.0, gt=0)


class Links(Part):
    """A share of the nodes is badly connected."""

    kind: Literal["links"]
    share: Share
    latency_ms: float = Field(default=0.0, ge=0)
    loss: Share = 0.0
    kilobytes_per_second: float = Field(default=1e6, gt=0)


class Clocks(Part):
    """A share of the nodes has a wall clock that is wrong by up to so much, in either direction."""

    kind: Literal["clocks"]
    share: Share
    minutes: Minutes


class BootstrapDead(Part):
    """The nodes everybody was told of die and never come back."""

    kind: Literal["bootstrap_dead"]
    at_minutes: Minutes


class DiskFull(Part):
    """The disks of some nodes are full for a while."""

    kind: Literal["disk_full"]
    nodes: Count
    at_minutes: Minutes
    minutes: Minutes


Fault = Annotated[
    Churn | Partition | Late | Restarts | Flood | Liars | Copycats | Sybils | Links | Clocks | BootstrapDead | DiskFull,
    Field(discriminator="kind"),
]
FAULTS: dict[str, type[Part]] = {
    "churn": Churn,
    "partition": Partition,
    "late": Late,
    "restarts": Restarts,
    "flood": Flood,
    "liars": Liars,
    "copycats": Copycats,
    "sybils": Sybils,
    "links": Links,
    "clocks": Clocks,
    "bootstrap_dead": BootstrapDead,
    "disk_full": DiskFull,
}


class Scenario(Part):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")
    about: str = Field(default="", max_length=500)
    hours: float = Field(gt=0, le=7 * 24)  # of research
    quiet_minutes: float = Field(default=10.0, gt=0, le=24 * 60)  # after it, before ledgers are compared
    nodes: Count = 35  # honest ones; where `machines` is given, their sum
    bootstraps: Count = 2  # the first so many are whom everybody was told of
    start_within_seconds: float = Field(default=60.0, ge=0)
    # light: adopts news that beats its best, else a step from its best, and looks at nothing more. portfolio: the
    # classic proposer of a real node, which takes a tenth to a whole second of computing for each idea.
    proposer: Literal["light", "portfolio"] = "light"
    landscape: LandscapeName = "recorded"
    network: NetworkConditions = NetworkConditions()
    machines: tuple[Machines, ...] = ()
    faults: tuple[Fault, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Scenario":
        if self.machines and sum(machines.nodes for machines in self.machines) != self.nodes:
            raise ValueError(f"machines are {sum(m.nodes for m in self.machines)} in all, nodes says {self.nodes}")
        if self.bootstraps > self.nodes:
            raise ValueError(f"bootstraps is {self.bootstraps}, but there are only {self.nodes} nodes")
        return self


def read_scenario(path: Path) -> Scenario:
    """Raises ScenarioError."""
    try:
        content = path.read_bytes()[: MAX_FILE_BYTES + 1]
    except OSError as error:
        raise ScenarioError(f"cannot read the scenario {path}: {error.strerror}; check the path") from None
    if len(content) > MAX_FILE_BYTES:
        raise ScenarioError(f"{path} is larger than {MAX_FILE_BYTES} bytes, so it is no scenario")
    try:
        tables = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text (byte {error.start}); a scenario is TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path} is not valid TOML: {error}") from None
    return _checked(path, tables)


def _checked(path: Path, tables: dict[str, Any]) -> Scenario:  # Any: whatever the file holds
    _refuse_unknown(path, "", tables, Scenario)
    _refuse_unknown(path, "network", tables.get("network"), NetworkConditions)
    for machines in _listed(tables.get("machines")):
        _refuse_unknown(path, "machines", machines, Machines)
    for fault in _listed(tables.get("faults")):
        kind = cast("dict[str, object]", fault).get("kind") if isinstance(fault, dict) else None
        if not isinstance(kind, str) or kind not in FAULTS:
            raise ScenarioError(f"{path}: a fault of unknown kind {kind!r}; {closest(str(kind), FAULTS)}")
        _refuse_unknown(path, f"faults ({kind})", cast("object", fault), FAULTS[kind])
    try:
        # through JSON, because strict pydantic takes a TOML array for a tuple only there
        return Scenario.model_validate_json(json.dumps(tables))
    except TypeError:
        raise ScenarioError(f"{path} holds a date or a time, which no setting of a scenario is") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in FAULTS) or "the file"
        raise ScenarioError(f"{path}: {where} is refused: {first['msg'].removeprefix('Value error, ')}") from None


def _listed(value: object) -> list[Any]:  # Any: whatever the file holds
    return cast("list[Any]", value) if isinstance(value, list) else []


def _refuse_unknown(path: Path, where: str, table: object, model: type[Part]) -> None:
    """Before pydantic looks: a misspelt key must not become a missing one."""
    for key in cast("dict[str, object]", table) if isinstance(table, dict) else ():
        if key not in model.model_fields:
            place = f"{where}.{key}" if where else key
            raise ScenarioError(f"{path}: unknown key {place!r}; {closest(key, model.model_fields)}")
