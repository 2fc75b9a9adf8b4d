"""Recipes: experiments of several steps, each a TOML file whose steps are configurations of runs. Reads and checks; starts nothing.

A step names its kind of run (train, score, compare, episodes, look) and its options as the dataclasses in `config` have them.
`weights = "step:NAME"`, `run` and `replay` refer to an earlier step. The small scale is the same file: what stands in `[small]` and in a
step's `small` is changed, and demo scenes take the place of data that isn't named.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from curriculum.config import KINDS, Config, RunConfig, TrainConfig
from curriculum.errors import ConfigError, UnknownError
from curriculum.vocabulary import MODES, Scale

FOLDER = Path(__file__).resolve().parent / "recipes"
REFERENCE = "step:"
REFERRING = ("weights", "run", "replay")
"""Options that may name an earlier step."""
FITS = {"stage_epochs": ("staged",), "augment": tuple(mode for mode in MODES if mode != "transfer")}
"""Options that only steps of these modes take from changes for all steps."""
INSTEAD = {"epochs": "stage_epochs", "stage_epochs": "epochs", "train_share": "per_class", "per_class": "train_share"}
"""Options that say the same thing twice: a change of the one takes the other's place too."""
MAX_POINTS = 1000
"""Of a step's grid: each is a run."""
SMALL_POINTS = 2
"""Of a grid at small scale: enough for there to be a choice."""
PLACE = re.compile("-?[0-9]{1,9}")
"""In a list, from its end where negative."""
COUNTS = ("filters", "peak_test_epoch", "all_images_epoch")
"""Figures that are whole numbers."""
BY_KIND: dict[str, type[RunConfig]] = {name: kind for kind, name in KINDS.items()}


@dataclass(frozen=True)
class Role:
    """Data that a recipe needs: by default the data set of that name. `get` says how to have it, `shape` what may take its place."""

    name: str
    what: str
    get: str
    shape: str = "a folder of class folders"


@dataclass(frozen=True)
class Reported:
    """One figure of a report: which of the result's, the value, where in the run it was seen, and why ours may differ."""

    figure: str
    value: float
    at: str = ""
    why: str = ""


@dataclass(frozen=True)
class Step:
    """One run, or of a `grid` several, of which the one that is best on val counts."""

    name: str
    kind: str
    role: str
    what: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """`minutes`: expected at full scale, by device; `text`: the file as it is."""

    name: str
    title: str
    source: str
    what: str
    minutes: Mapping[str, float]
    roles: tuple[Role, ...]
    steps: tuple[Step, ...]
    small: Mapping[str, Any]
    text: str

    @property
    def first_role(self) -> Role:
        return self.roles[0]


# -- reading -------------------------------------------------------------------------------------


def names() -> list[str]:
    """Every recipe that comes with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Recipe:
    """A recipe by name, or from a TOML file of one's own.

    Raises:
        UnknownError: there is none. ConfigError: the file isn't a recipe; the error names the key.
    """
    path = _own(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if (Path(name).name != name and not name.endswith(".toml")) or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for long names
        raise UnknownError(
            "no such recipe", got=name, allowed=names(), todo="Or give the path of a .toml file: `recipe show NAME` prints one"
        )
    try:
        text = path.read_text(encoding="utf-8")
        record = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also of numbers with thousands of digits
        raise ConfigError(f"the recipe {path.name} can't be read ({error})") from error
    return _recipe(path.stem, record, text)


def _own(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~somebody who isn't there
        return Path(name)


def _recipe(name: str, record: dict[str, Any], text: str) -> Recipe:
    where = f"the recipe {name}"
    _only(where, record, {"title", "source", "what", "minutes", "data", "step", "small"}, {"title", "data", "step"})
    for key in ("title", "source", "what"):
        _is(f"{where}, {key}", record.get(key, ""), str, "text")
    data, small, minutes = (_is(f"{where}, {key}", record.get(key, {}), dict, "a table") for key in ("data", "small", "minutes"))
    said_steps = _is(f"{where}, step", record["step"], list, "tables [[step]]")
    if not data or not said_steps:
        raise ConfigError(f"{where} wants tables [data.NAME] and [[step]]", got=sorted(record))
    for device, number in minutes.items():
        _is(f"{where}, minutes, {device}", number, (int, float), "a number")
    _only(f"{where}, small", small, {f.name for kind in KINDS for f in dataclasses.fields(kind)}, set())
    roles = tuple(_made(Role, f"{where}, data {role}", said, name=role) for role, said in data.items())
    steps: list[Step] = []
    for said in said_steps:
        steps.append(_step(where, said, [role.name for role in roles], [step.name for step in steps]))
    made = Recipe(name, record["title"], record.get("source", ""), record.get("what", ""), minutes, roles, tuple(steps), small, text)
    for scale in typing.get_args(Scale):  # every option of every step is checked before anything is started
        for step in made.steps:
            before = itertools.takewhile(lambda earlier: earlier is not step, made.steps)  # noqa: B023 - used up at once
            expand(made, step, scale, {role.name: role.name for role in roles}, {earlier.name: "earlier-run" for earlier in before})
    return made


def _step(where: str, said: Any, roles: list[str], before: list[str]) -> Step:
    name = _is(f"{where}, step", said, dict, "a table [[step]]").get("name")
    if not isinstance(name, str) or not name or name in before:
        raise ConfigError(f"{where}, step {len(before) + 1} needs a name of its own", got=name)
    where = f"{where}, step {name}"
    own = {f.name for f in dataclasses.fields(Step)} - {"options", "role"} | {"data"}
    kind = _is(f"{where}, kind", said.get("kind", "train"), str, "text")
    if kind not in BY_KIND:
        raise ConfigError(f"{where} is of an unknown kind", got=kind, allowed=BY_KIND)
    options = {key: value for key, value in said.items() if key not in own}
    role = said.get("data", roles[0])
    if role not in roles:
        raise ConfigError(f"{where} uses data that the recipe doesn't name", got=role, allowed=roles)
    what = _is(f"{where}, what", said.get("what", ""), str, "text")
    small, grid = (_is(f"{where}, {key}", said.get(key, {}), dict, "a table") for key in ("small", "grid"))
    for key, values in grid.items():
        if not _is(f"{where}, grid, {key}", values, list, "a list"):
            raise ConfigError(f"{where}, grid, {key} has no value", got=values)
    for key in REFERRING:
        for given in (options.get(key), small.get(key), *grid.get(key, ())):
            if isinstance(given, str) and given.startswith(REFERENCE) and given.removeprefix(REFERENCE) not in before:
                raise ConfigError(f"{where} refers to a step that doesn't come before it: {key}", got=given, allowed=before)
    reported = _is(f"{where}, reported", said.get("reported", []), list, "tables [[step.reported]]")
    figures = tuple(_made(Reported, f"{where}, reported", each) for each in reported)
    return Step(name, kind, role, what, options, small, {key: tuple(values) for key, values in grid.items()}, figures)


def _made(kind: Any, where: str, said: Any, **more: str) -> Any:
    fields = [f for f in dataclasses.fields(kind) if f.name not in more]
    _only(where, _is(where, said, dict, "a table"), {f.name for f in fields}, {f.name for f in fields if f.default is dataclasses.MISSING})
    for key, value in said.items():
        _is(f"{where}, {key}", value, (int, float) if key == "value" else str, "a number" if key == "value" else "text")
    return kind(**more, **said)


def _is(where: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where} is no {what.removeprefix('a ')}", got=value, allowed=what)
    return value


def _only(where: str, said: Mapping[str, Any], known: set[str], needed: set[str]) -> None:
    if unknown := sorted(set(said) - known):
        raise ConfigError(f"{where} has unknown keys", got=unknown, allowed=sorted(known))
    if missing := sorted(needed - set(said)):
        raise ConfigError(f"{where} lacks keys", got=sorted(said), allowed=missing)


# -- steps become configurations -----------------------------------------------------------------


def expand(
    recipe: Recipe, step: Step, scale: Scale, data: Mapping[str, str], runs: Mapping[str, str], changes: Mapping[str, Any] | None = None
) -> list[Config]:
    """The configurations of a step: one, or one for each point of its grid.

    Args:
        data: the data set of each role.
        runs: the run of each earlier step.
        changes: options that every step takes that has them, in place of its own, a grid's among them.

    Raises:
        ConfigError: an option doesn't exist or has a value that isn't allowed; it names the step.
    """
    kind, takes = BY_KIND[step.kind], changeable(step)
    known = {f.name for f in dataclasses.fields(kind)}
    options, where = dict(step.options), f"the recipe {recipe.name}, step {step.name}"
    if scale == "small":
        options = _changed(_changed(options, _only_those(recipe.small, takes)), step.small)
    said = _only_those(changes or {}, takes)
    options, grid = _changed(options, said), _grid(step, said)
    if unknown := sorted((set(options) | set(grid)) - known):
        raise ConfigError(f"{where} has options that a run of kind {step.kind} doesn't", got=unknown, allowed=sorted(known))
    if (count := math.prod(map(len, grid.values()))) > MAX_POINTS:
        raise ConfigError(f"{where} has a grid of too many points", got=f"{count:,}", allowed=f"up to {MAX_POINTS:,}")
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if scale == "small":
        points = points[:SMALL_POINTS]
    made: list[Config] = []
    for point in points:
        given = {key: _resolved(where, key, value, runs) for key, value in {**options, **point}.items()}
        try:
            made.append(kind(dataset=data[step.role], **given))  # type: ignore[arg-type]
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.what}", got=error.got, allowed=error.allowed, todo=error.todo) from error
        except TypeError as error:
            raise ConfigError(f"{where} has a value of the wrong type ({error})") from error
    for each in made if len(made) > 1 else ():
        if not isinstance(each, TrainConfig) or each.protocol == "report":
            raise ConfigError(
                f"{where} has a grid, of which the best on val counts, and nothing is measured on val there",
                got=f"protocol {each.protocol}" if isinstance(each, TrainConfig) else f"kind {step.kind}",
                allowed="training with protocol honest or given", todo="Make a step of each, or a single one",
            )  # fmt: skip
    return made


def due(step: Step, scale: str, changes: Mapping[str, Any]) -> int:
    """How many runs a step has."""
    count = math.prod(map(len, _grid(step, _only_those(changes, changeable(step))).values()))
    return min(count, SMALL_POINTS) if scale == "small" else count


def _grid(step: Step, said: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What is left of a step's grid under changes that it takes."""
    return {key: values for key, values in step.grid.items() if key not in _replaced(said)}


def _changed(options: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in _replaced(said)} | dict(said)


def _replaced(said: Mapping[str, Any]) -> set[str]:
    """The options whose place changes take."""
    return set(said) | {INSTEAD[option] for option in said if option in INSTEAD}


def _resolved(where: str, key: str, value: Any, runs: Mapping[str, str]) -> Any:
    """A list as a tuple, a step as its run."""
    if key in REFERRING and isinstance(value, str) and value.startswith(REFERENCE):
        if (run := runs.get(value.removeprefix(REFERENCE))) is None:
            raise ConfigError(f"{where} refers to a step that doesn't come before it: {key}", got=value, allowed=list(runs))
        return f"run:{run}" if key == "weights" else run
    return tuple(value) if isinstance(value, list) else value


def changeable(step: Step) -> set[str]:
    """Options of a step that changes for all steps may set: those that it has; other weights only in ImageNet's place."""
    mode = step.options.get("mode", "staged")
    lacking = {option for option, modes in FITS.items() if mode not in modes}
    weights = step.grid.get("weights", (step.options.get("weights", "imagenet"),))
    lacking |= {"weights"} if mode == "scratch" or "imagenet" not in weights else set()
    return {f.name for f in dataclasses.fields(BY_KIND[step.kind])} - {"dataset"} - lacking


def check_changes(recipe: Recipe, changes: Mapping[str, Any]) -> None:
    """Refuse a change that no step would take; raises ConfigError."""
    known = set().union(*map(changeable, recipe.steps))
    for option, value in changes.items():
        if option not in known:
            raise ConfigError(f"no step of the recipe {recipe.name} takes this change", got=f"{option}={value}", allowed=sorted(known))


def _only_those(changes: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if key in known}


def parse_changes(given: typing.Iterable[str]) -> dict[str, Any]:
    """OPTION=VALUE pairs, as the flags of the commands read them.

    Raises:
        ConfigError: not of that form, or no kind of run has such an option.
    """
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        kinds = [typing.get_type_hints(kind)[name] for kind in KINDS if name in {f.name for f in dataclasses.fields(kind)}]
        if not equals or not kinds or name == "dataset":
            raise ConfigError("a change is OPTION=VALUE, with an option of `train`, `score`, `compare`, `episodes` or `look`", got=each)
        found[name] = _value(kinds[0], text, each)
    return found


def _value(kind: Any, text: str, given: str) -> Any:
    kinds = [each for each in (typing.get_args(kind) if isinstance(kind, UnionType) else (kind,)) if each is not type(None)]
    try:
        if kinds[0] is bool:
            return {"true": True, "on": True, "false": False, "off": False}[text.lower()]
        if typing.get_origin(kinds[0]) is tuple:
            return tuple(typing.get_args(kinds[0])[0](part) for part in text.split(","))
        return kinds[0](text)
    except (KeyError, ValueError) as error:
        raise ConfigError("a change has a value of the wrong kind", got=given) from error


# -- figures -------------------------------------------------------------------------------------


def figure(result: Mapping[str, Any], name: str) -> float | None:
    """A figure of a run's result.json by its path, such as test_accuracy or stages.0.own_accuracy; None where it has none."""
    found: Any = result
    for part in name.split("."):
        if isinstance(found, list) and PLACE.fullmatch(part) and -len(found) <= int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, Mapping) and part in found:
            found = found[part]
        else:
            return None
    try:
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
    except OverflowError:
        return None
