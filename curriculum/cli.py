"""`python -m curriculum`: the flags, the output and the exit codes; `commands` does the work.

With --json one document goes to standard output and everything else to standard error. Exit code 0:
done, 1: the work failed, 2: the call was wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, NoReturn, TextIO

from curriculum import (
    bench_command,
    commands,
    doctor_command,
    explain_command,
    label_commands,
    people_commands,
    recipe_commands,
    run_commands,
)
from curriculum.config import CompareConfig, EpisodesConfig, LookConfig, RunConfig, ScoreConfig, TrainConfig
from curriculum.errors import CallError, CurriculumError
from curriculum.fetching import KNOWN
from curriculum.home import Home
from curriculum.label_formats import FORMATS
from curriculum.people import ROLES
from curriculum.rundir import MAX_NOTE, MAX_TITLE
from curriculum.vocabulary import DEVICES, LEVEL_SOURCES, SCALES, SUPERPIXELS

Command = Callable[[argparse.Namespace, Home], tuple[dict[str, Any], str]]
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Letters that a terminal obeys instead of showing them: control characters but tab and newline, and marks that turn text round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    code = 0
    try:
        try:
            code, answer = _done(sys.argv[1:] if arguments is None else arguments)
            if answer:
                _say(answer, sys.stdout)
        finally:
            sys.stdout.flush()  # here: at its end Python would call a closed pipe an error
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _done(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code, and what standard output gets: with --json one document, whatever fails."""
    as_json = any(len(word) > 2 and "--json".startswith(word) for word in arguments)
    try:
        options = parser().parse_args(arguments)
        as_json = options.json
        document, text = options.command(options, Home.find(options.home))
        return 0, json.dumps(clean(document)) if as_json else text
    except CurriculumError as error:
        return _failed(as_json, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _failed(as_json, "Interrupted. Nothing half-made was left behind.", 1)
    except OSError as error:
        return _failed(as_json, f"The system refused: {error}. Nothing half-made was left behind.", 1)
    except Exception as error:  # a defect, which must be findable
        _say(traceback.format_exc(), sys.stderr)
        return _failed(as_json, f"{type(error).__name__}: {error}. That is a defect of this program; the lines above say where.", 1)


def _failed(as_json: bool, message: str, code: int) -> tuple[int, str]:
    _say(f"error: {message}", sys.stderr)
    return code, json.dumps({"error": message}) if as_json else ""


def _say(text: str, stream: TextIO) -> None:
    """Print what may hold a stranger's text: nothing in it moves a terminal's cursor, and all of it fits the stream's encoding."""
    seen, encoding = UNSEEN.sub(lambda letter: ascii(letter[0])[1:-1], text), stream.encoding or "utf-8"
    print(seen.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def clean(value: Any) -> Any:
    """The same document in what JSON knows: no NaN, no infinity, no dates, no numpy."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return clean(value.item()) if hasattr(value, "item") else str(value)


# -- flags ---------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a call as everything else does, instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise CallError(message, todo=f"`{self.prog} --help` shows what there is")


def parser() -> argparse.ArgumentParser:
    """Every command with its flags."""
    top = _Parser(
        prog="python -m curriculum", description="Sort images by difficulty, compare with a model, train in that order, see what is wrong."
    )
    top.add_argument("--home", help="folder that holds data/ and labels/ (default: $CURRICULUM_HOME, else the checkout)")
    groups = top.add_subparsers(required=True, metavar="COMMAND")

    command = _command(groups, "app", commands.app, "start the app in the browser", "app")
    command.add_argument("streamlit", nargs=argparse.REMAINDER, help="options for `streamlit run`, after --")

    data = _group(groups, "data", "data sets")
    _command(data, "demo", commands.data_demo, "draw the demo scenes and add them", "data demo")
    command = _command(
        data, "fetch", commands.data_fetch, "download a known data set and add it", "data fetch rsscn7 --from ~/RSSCN7-master.zip"
    )
    command.add_argument("source_name", metavar="NAME", choices=["rsscn7", *KNOWN], help="; ".join(
        ["rsscn7: 2,800 satellite images of 7 classes", *(f"{name}: {known.meaning}" for name, known in KNOWN.items())]
    ))  # fmt: skip
    command.add_argument("--from", dest="source", metavar="PATH", help="a folder or archive that you have, instead of the network")
    command = _command(data, "add", commands.data_add, "add a folder of class folders", "data add ~/pictures --name mine")
    command.add_argument("path", metavar="PATH")
    command.add_argument("--name", required=True, help="what to call it")
    command = _command(data, "check", commands.data_check, "look at a data set's folder again", "data check mine")
    command.add_argument("name", metavar="NAME")
    command = _command(
        data, "overlaps", commands.data_overlaps, "find images of the same ground, and keep them together in honest splits",
        "data overlaps rsscn7",
    )  # fmt: skip
    command.add_argument("name", metavar="NAME", help="`data list` shows them")
    _command(data, "list", commands.data_list, "list the data sets", "data list")

    label = _group(groups, "labels", "people's levels")
    command = _on_dataset(
        label, "import", label_commands.labels_import, "take in a label file, all or nothing", "labels import --dataset demo levels.csv"
    )
    command.add_argument(
        "path", metavar="FILE", help="a table with example, annotator, level; Label Studio's JSON; or a folder with easy/ medium/ hard/"
    )
    command.add_argument("--annotator", help="whose labels they are, where the file doesn't say")
    command.add_argument("--format", choices=FORMATS, help="default: by the suffix, else csv")
    command.add_argument("--log", action="store_true", help="the file is a whole log, as `labels export --log` writes it")
    command.add_argument(
        "--comparisons", action="store_true", help="the file holds comparisons of four, as `labels export --comparisons` writes it"
    )
    command = _on_dataset(
        label, "export", label_commands.labels_export, "write labels to a file", "labels export --dataset demo levels.csv"
    )
    command.add_argument("path", metavar="PATH")
    command.add_argument("--who", default="all", help="people, simulated, all or an annotator's name (default: all)")
    command.add_argument(
        "--format", choices=FORMATS, help="folders (copies), links: easy/ medium/ hard/ by consensus (default: by the suffix, else csv)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the file that is there (never a folder)")
    command.add_argument(
        "--log", action="store_true", help="every event with its id and times, not only current labels (csv, jsonl, parquet)"
    )
    command.add_argument("--comparisons", action="store_true", help="every comparison of four with its id and times (csv, jsonl, parquet)")
    command = _on_dataset(
        label,
        "replay",
        label_commands.labels_replay,
        "the labels as they were",
        "labels replay --dataset demo --until 2026-01-31T12:00:00Z",
    )
    command.add_argument("--until", metavar="TIME", help="ISO time, UTC where it has no zone (default: now)")
    command = _on_dataset(
        label, "history", label_commands.labels_history, "every event of one image", "labels history --dataset demo aGrass/a001.jpg"
    )
    command.add_argument("example", metavar="EXAMPLE", help="class/file")
    command = _command(
        label, "backup", label_commands.labels_backup, "copy the whole database to a new folder, also while the app runs", "labels backup"
    )
    command.add_argument("folder", metavar="FOLDER", nargs="?", help="default: labels/backups/<UTC time>")
    command = _command(
        label, "restore", label_commands.labels_restore, "make a backup the database; the present one is kept beside it",
        "labels restore labels/backups/20260131-120000-000000",
    )  # fmt: skip
    command.add_argument("folder", metavar="FOLDER", help="what `labels backup` wrote")
    _on_dataset(label, "summary", label_commands.labels_summary, "count labels", "labels summary --dataset demo")
    command = _on_dataset(
        label, "agreement", label_commands.labels_agreement, "how far annotators agree", "labels agreement --dataset demo --who simulated"
    )
    command.add_argument("--who", choices=LEVEL_SOURCES, default="people", help="whose labels (default: people)")
    _on_dataset(
        label, "scale", label_commands.labels_scale, "the scale that comparisons of four images give, and its reliability",
        "labels scale --dataset demo --json",
    )  # fmt: skip
    command = _on_dataset(
        label, "settings", label_commands.labels_settings, "show or change how the team sorts: how many people an image, how many repeats",
        "labels settings --dataset demo --labels-per-image 2",
    )  # fmt: skip
    command.add_argument("--labels-per-image", type=_count_or_all, metavar="K|all", help="how many people sort each image, or all")
    command.add_argument(
        "--repeat-share", type=float, metavar="SHARE", help="of an annotator's images, how many come a second time, 0 to 0.5"
    )
    command = _on_dataset(
        label, "simulate", label_commands.labels_simulate, "add simulated annotators", "labels simulate --dataset demo --annotators 3"
    )
    command.add_argument("--annotators", type=int, default=3, help="how many (default: 3)")
    command.add_argument("--noise", type=float, default=0.15, help="standard deviation added to a difficulty of 0 to 1 (default: 0.15)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--basis", choices=["auto", "built-in", "model"], default="auto",
                         help="the demo scenes' built-in difficulty or the model's ranking (auto: built-in where there is one)")  # fmt: skip

    person = _group(groups, "people", "who may sign in, and who leads")
    _command(person, "list", people_commands.people_list, "list the people with role, labels and when they were last seen", "people list")
    command = _command(
        person, "add", people_commands.people_add, "register somebody; the PIN is asked for, or read from standard input",
        "people add Ana --role lead",
    )  # fmt: skip
    command.add_argument("name", metavar="NAME")
    command.add_argument("--role", choices=ROLES, help="default: lead for the first, else annotator")
    command = _command(person, "role", people_commands.people_role, "make somebody a lead or an annotator", "people role Ana lead")
    command.add_argument("name", metavar="NAME")
    command.add_argument("role", metavar="ROLE", choices=ROLES, help="lead: sees every page; annotator: Start and Sort")
    command = _command(
        person, "reset-pin", people_commands.people_reset_pin, "forget somebody's PIN: the next sign-in chooses a new one",
        "people reset-pin Ana",
    )  # fmt: skip
    command.add_argument("name", metavar="NAME")
    command.add_argument("--choose", action="store_true", help="choose the new PIN here: asked for, or read from standard input")

    command = _on_dataset(
        groups, "score", commands.score, "rank every image by a model's loss", "score --dataset demo --weights none --image-size 64"
    )
    _add_options(command, ScoreConfig)
    command = _on_dataset(
        groups, "train", commands.train, "train a network", "train --dataset demo --mode self-paced --weights none --image-size 64"
    )
    _add_options(command, TrainConfig)

    command = _on_dataset(
        groups, "compare", commands.compare, "does the order help? arms x paired seeds at one budget, with their controls",
        "compare --dataset demo --arms self-paced --seeds 5 --weights none --image-size 64",
    )  # fmt: skip
    _add_options(command, CompareConfig)

    command = _on_dataset(
        groups, "episodes", commands.episodes, "few-shot episodes: how well a few images suffice for a frozen network's features",
        "episodes --dataset demo --weights run:20260131-120000-scratch-1a2b --ways 5 --shots 5 --image-size 64",
    )  # fmt: skip
    _add_options(command, EpisodesConfig)
    command = _on_dataset(
        groups, "look", commands.look, "one picture through one network: its top classes, the first layer's filters and answers",
        "look --dataset demo --example aGrass/a001.jpg --architecture squeezenet1-0 --weights imagenet",
    )  # fmt: skip
    _add_options(command, LookConfig)

    run = _group(groups, "runs", "past and present runs")
    command = _command(run, "list", commands.runs_list, "list runs", "runs list")
    command.add_argument("--dataset", metavar="NAME")
    for name, function, what in (
        ("show", commands.runs_show, "a run's figures and what it misclassifies"),
        ("cancel", commands.runs_cancel, "stop a run; it can be resumed"),
        ("resume", commands.runs_resume, "go on with a stopped run from its last checkpoint"),
        ("delete", commands.runs_delete, "remove a run and its files"),
    ):
        command = _command(run, name, function, what, f"runs {name} 20260131-120000-staged-1a2b")
        command.add_argument("run_id", metavar="ID")
    command = _command(run, "rename", run_commands.runs_rename, "give a run a title; an empty one takes it away",
                       "runs rename 20260131-120000-staged-1a2b 'Ana levels, second try'")  # fmt: skip
    command.add_argument("run_id", metavar="ID")
    command.add_argument("title", metavar="TITLE", help=f"one line of up to {MAX_TITLE} letters")
    command = _command(run, "note", run_commands.runs_note, "keep a note with a run; an empty one takes it away",
                       "runs note 20260131-120000-staged-1a2b 'before the labels were cleaned'")  # fmt: skip
    command.add_argument("run_id", metavar="ID")
    command.add_argument("text", metavar="TEXT", help=f"up to {MAX_NOTE:,} letters")
    command = _command(run, "diff", run_commands.runs_diff, "what two runs' configurations differ in",
                       "runs diff 20260131-120000-staged-1a2b 20260131-130000-staged-3c4d")  # fmt: skip
    command.add_argument("run_a", metavar="A")
    command.add_argument("run_b", metavar="B")
    _command(run, "ingest", commands.runs_ingest, "take every run directory into the database", "runs ingest")

    command = _command(groups, "report", run_commands.report, "a run or a comparison as one HTML file that needs no network",
                       "report 20260131-120000-staged-1a2b --out report.html")  # fmt: skip
    command.add_argument("run_id", metavar="RUN|COMPARISON")
    command.add_argument("--out", required=True, metavar="FILE", help="where to write it")
    command.add_argument("--overwrite", action="store_true", help="replace the file that is there")
    command.add_argument("--explain", type=int, default=3, metavar="N",
                         help="of a run: what the model looked at in so many of its worst mistakes, which takes a while (default: 3)")  # fmt: skip

    cook = _group(groups, "recipe", "every experiment of the reports, by name")
    _command(
        cook, "list", recipe_commands.recipe_list, "what there is: the data that it needs, the time, the reports' figures", "recipe list"
    )
    command = _command(
        cook, "show", recipe_commands.recipe_show, "print a recipe's file, to begin one of your own with", "recipe show squeezenet"
    )
    command.add_argument("recipe", metavar="NAME", help="`recipe list` shows them; or the path of a .toml file")
    command = _command(cook, "run", recipe_commands.recipe_run, "do an experiment, step by step, and set ours beside the reports' figures",
                       "recipe run transfer-rsscn7 --scale small")  # fmt: skip
    command.add_argument("recipe", metavar="NAME", help="`recipe list` shows them; or the path of a .toml file")
    command.add_argument(
        "--scale", choices=SCALES, default="full", help="small: every step in two minutes, on the demo scenes (default: full)"
    )
    command.add_argument("--data", nargs="+", metavar="ROLE=NAME", help="a data set of yours in a role's place, such as dtd=my-textures")
    command.add_argument("--change", nargs="+", metavar="OPTION=VALUE", help="for every step that has the option, such as image_size=128")
    command = _command(cook, "results", recipe_commands.recipe_results, "what was started, and what it gave so far", "recipe results")
    command.add_argument("recipe_id", metavar="ID", nargs="?", help="of one that was started (default: list all)")
    command = _command(cook, "resume", recipe_commands.recipe_resume, "go on with what is left of one that was stopped",
                       "recipe resume 20260131-120000-squeezenet-1a2b")  # fmt: skip
    command.add_argument("recipe_id", metavar="ID", help="`recipe results` shows them")
    command.add_argument("--change", nargs="+", metavar="OPTION=VALUE",
                         help="for every step that has the option and isn't done, such as weights=FILE")  # fmt: skip

    command = _command(
        groups, "explain", explain_command.explain, "draw the regions of images that a run's model goes by, and say how far to rely on them",
        "explain 20260131-120000-staged-1a2b --worst 5 --out why",
    )  # fmt: skip
    command.add_argument("run_id", metavar="RUN", help="a training run; `runs list` shows them")
    command.add_argument("examples", metavar="EXAMPLE", nargs="*", help="class/file, of the run's data set")
    command.add_argument("--worst", type=int, metavar="N",
                         help="also the misclassified test images with the highest loss (default: 5 where no image is named)")  # fmt: skip
    command.add_argument("--samples", type=int, default=1000, help="images with covered regions, per sampling (default: 1000)")
    command.add_argument("--segments", choices=SUPERPIXELS, default="quickshift", help="how the image is divided (default: quickshift)")
    command.add_argument("--out", required=True, metavar="FOLDER", help="where the pictures and explain.json go")
    command.add_argument("--overwrite", action="store_true", help="replace those that are there")

    command = _command(
        groups, "bench", bench_command.bench, "measure training, scoring and KNN on this machine against a plain loop and the bare model",
        "bench --json",
    )  # fmt: skip
    command.add_argument("--dataset", metavar="NAME", help="whose files to read (default: demo scenes, drawn for it)")
    command.add_argument("--images", type=int, default=256, help="how many to train on (default: 256)")
    command.add_argument("--repeats", type=int, default=3, help="rounds; the median counts (default: 3)")
    command.add_argument("--image-size", type=int, default=256, metavar="PIXELS", help="default: 256")
    command.add_argument("--batch-size", type=int, default=32, metavar="IMAGES", help="default: 32")
    command.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: auto)")
    _command(groups, "doctor", doctor_command.examine, "look whether all is well: versions, GPU, disk, database, weights, runs; and say what to do",
             "doctor --json")  # fmt: skip
    return top


def _group(groups: Any, name: str, what: str) -> Any:
    return groups.add_parser(name, help=what, description=what).add_subparsers(required=True, metavar="COMMAND")


def _command(groups: Any, name: str, function: Command, what: str, example: str) -> argparse.ArgumentParser:
    found: argparse.ArgumentParser = groups.add_parser(name, help=what, description=what, epilog=f"example: python -m curriculum {example}")
    found.add_argument("--json", action="store_true", help="one JSON document on standard output")
    found.set_defaults(command=function)
    return found


def _on_dataset(groups: Any, name: str, function: Command, what: str, example: str) -> argparse.ArgumentParser:
    command = _command(groups, name, function, what, example)
    command.add_argument("--dataset", required=True, metavar="NAME", help="`data list` shows them")
    return command


def _add_options(command: argparse.ArgumentParser, kind: type[RunConfig]) -> None:
    """A flag for each field of a configuration: its name, type, default and explanation come from there."""
    types = typing.get_type_hints(kind)
    for f in dataclasses.fields(kind):
        if f.name == "dataset":
            continue
        given = types[f.name]
        kinds = [kind for kind in (typing.get_args(given) if isinstance(given, UnionType) else (given,)) if kind is not type(None)]
        default = "" if f.default is None else f" (default: {str(f.default).replace('_', '-')})"
        extra: dict[str, Any] = {"type": kinds[0]}
        if typing.get_origin(kinds[0]) is tuple:
            of = typing.get_args(kinds[0])[0]
            extra = {"type": int, "nargs": 3} if of is int else {"type": str, "nargs": "+", "metavar": "NAME"}
            default = f" (default: {' '.join(f.default)})" if isinstance(f.default, tuple) and f.default else ""
        if kinds[0] is bool:
            extra = {"action": argparse.BooleanOptionalAction}
        if f.metadata["choices"]:
            choices = f.metadata["choices"]
            listed = "{" + ",".join(choice.replace("_", "-") for choice in choices) + "}"
            many = {"nargs": "+"} if typing.get_origin(kinds[0]) is tuple else {}
            extra = {"type": _canonical(choices), "choices": choices, "metavar": listed, **many}
        command.add_argument("--" + f.name.replace("_", "-"), dest=f.name, help=f.metadata["help"].replace("%", "%%") + default, **extra)


def _count_or_all(text: str) -> int | str:
    if text == "all" or (text.isascii() and text.isdecimal()):
        return "all" if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number from 1 on nor the word all")


def _canonical(choices: Sequence[str]) -> Callable[[str], str]:
    """oof-loss and oof_loss are the same choice."""
    return lambda text: next((choice for choice in choices if choice.replace("_", "-") == text.replace("_", "-")), text)
