"""`swarm steer`: what the owner of a node fixes, rules out or says, while it runs or not."""

from dataclasses import replace

import click

from node import views
from node.cli.look import print_json
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import print_fact
from node.clock import wall_clock
from node.home import Home
from node.imported import refuse_work_on
from node.proposers.steering import Steering, SteeringError, read_value, show, unknown
from node.steering import (
    SteeringFiles,
    files_of,
    goal_of,
    load_steering,
    read_program,
    save_steering,
    say,
    steering_json,
)
from node.text import clean
from swarm.brief import Brief
from swarm.space import SearchSpace


@click.command()
@click.option("--pin", "pins", multiple=True, metavar="KNOB=VALUE", help="Every proposal has this value. Repeatable.")
@click.option("--ban", "bans", multiple=True, metavar="KNOB[=VALUE]",
              help="Leave a setting as it is, or never use one value of it. Repeatable.")  # fmt: skip
@click.option("--unpin", "unpins", multiple=True, metavar="KNOB", help="Take a pin back. Repeatable.")
@click.option("--unban", "unbans", multiple=True, metavar="KNOB[=VALUE]", help="Take a ban back. Repeatable.")
@click.option("--say", "said", metavar="TEXT", help="Add a dated line to program.md, which proposers read.")
@click.option("--show", "only_show", is_flag=True, help="Show what is steered; so does no option at all.")
@home_option
@topic_option
@json_option
def steer(
    home: Home,
    topic: str | None,
    as_json: bool,
    pins: tuple[str, ...],
    bans: tuple[str, ...],
    unpins: tuple[str, ...],
    unbans: tuple[str, ...],
    said: str | None,
    only_show: bool,
) -> None:
    """Pin or ban settings, or say what to try; it counts from the next proposal on."""
    with views.open_archive(home, topic) as archive:
        refuse_work_on(home, archive.brief_id)
        if only_show and (pins or bans or unpins or unbans or said is not None):
            raise click.UsageError("--show changes nothing: leave it out, what is steered is shown all the same")
        brief, files = archive.brief, files_of(home, archive.brief_id, archive.state.get("brief_id"))
    try:
        steering = before = load_steering(files.steering, brief)
        for text in unpins:
            steering = unpinned(steering, text, brief.space)
        for text in unbans:
            steering = unbanned(steering, text, brief.space)
        for text in pins:
            steering = pinned(steering, text, brief.space)
        for text in bans:
            steering = banned(steering, text, brief.space)
        if problem := steering.problem(brief.space):
            raise SteeringError(problem)
        if said is not None and not clean(said, 10):
            raise SteeringError("--say needs some words")
    except SteeringError as error:
        raise click.UsageError(str(error)) from None
    if steering != before:
        save_steering(files.steering, steering)
    if said is not None:
        say(files.program, brief, said, wall_clock())
    _print(files, brief, steering, as_json=as_json)


def steer_json(files: SteeringFiles, brief: Brief, steering: Steering) -> views.Json:
    edited = read_program(files.program, brief) != goal_of(brief)
    return steering_json(steering, edited) | {"program": str(files.program), "topic": brief.name}


def _print(files: SteeringFiles, brief: Brief, steering: Steering, *, as_json: bool) -> None:
    facts = steer_json(files, brief, steering)
    if as_json:
        print_json(facts)
        return
    print_fact("topic", brief.name)
    print_fact("steering", steering.words() or "nothing pinned or banned")
    print_fact("program", f"{files.program}  ({'edited' if facts['program_edited'] else 'the goal of the brief'})")


def pinned(steering: Steering, text: str, space: SearchSpace) -> Steering:
    """With one pin more; it takes the place of a ban of the whole setting."""
    name, value = _named(text, space)
    if value is None:
        raise SteeringError(f"--pin {name} says no value: write --pin {name}=VALUE")
    bans = tuple(one for one in steering.bans if one != name)
    return replace(steering, pins={**steering.pins, name: read_value(name, value, space)}, bans=bans)


def banned(steering: Steering, text: str, space: SearchSpace) -> Steering:
    name, value = _named(text, space)
    if value is None:
        pins = {one: pin for one, pin in steering.pins.items() if one != name}
        return replace(steering, pins=pins, bans=tuple(dict.fromkeys((*steering.bans, name))))
    read = read_value(name, value, space)
    if not steering.allows(name, read):
        return steering
    values = {**steering.banned_values, name: (*steering.banned_values.get(name, ()), read)}
    return replace(steering, banned_values=values)


def unpinned(steering: Steering, text: str, space: SearchSpace) -> Steering:
    name, _ = _named(text, space)
    if name not in steering.pins:
        raise SteeringError(f"{name} is not pinned")
    return replace(steering, pins={one: pin for one, pin in steering.pins.items() if one != name})


def unbanned(steering: Steering, text: str, space: SearchSpace) -> Steering:
    """A setting without a value: everything that was banned of it."""
    name, value = _named(text, space)
    values = dict(steering.banned_values)
    if value is None:
        if name not in steering.bans and name not in values:
            raise SteeringError(f"{name} is not banned")
        values.pop(name, None)
        return replace(steering, bans=tuple(one for one in steering.bans if one != name), banned_values=values)
    read = read_value(name, value, space)
    if steering.allows(name, read):
        raise SteeringError(f"{name} = {show(read)} is not banned")
    values[name] = tuple(one for one in values[name] if type(one) is not type(read) or one != read)
    return replace(steering, banned_values={one: many for one, many in values.items() if many})


def _named(text: str, space: SearchSpace) -> tuple[str, str | None]:
    """'depth=4' → ('depth', '4'); 'depth' → ('depth', None)."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if name not in space.parameters:
        raise SteeringError(unknown(name, space))
    return name, value.strip() if equals else None
