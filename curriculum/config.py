"""What a run can be told.

The command line's flags, the pages' forms and a run's `config.json` all come from the dataclasses
here, so that an option has one name, one default, one range and one explanation. Nothing in this
module reads data or starts work.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from curriculum.errors import ConfigError
from curriculum.vocabulary import (
    ARCHITECTURES,
    AUGMENTATIONS,
    CURRICULA,
    DEVICES,
    EPISODE_CLASSIFIERS,
    HEAD_INITS,
    LEVELS,
    MODES,
    NORMALISATIONS,
    OPTIMIZERS,
    ORDER_SOURCES,
    ORDERINGS,
    PACINGS,
    PROTOCOLS,
    RATE_RULES,
    SCORE_METHODS,
    VARIANTS,
)

DEFAULT_RATE = {"staged": 1e-4, "self-paced": 1e-4, "paced": 1e-4, "fine-tune": 1e-4, "transfer": 1e-3, "scratch": 5e-2}
DEFAULT_RULE = dict.fromkeys(DEFAULT_RATE, "constant") | {"transfer": "accuracy", "scratch": "one-cycle"}
DEFAULT_OPTIMIZER = dict.fromkeys(DEFAULT_RATE, "adam") | {"scratch": "sgd"}


def option(
    default: Any,
    help: str,  # noqa: A002 - the word that argparse and Streamlit use
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field that knows its explanation, its choices and its range."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class RunConfig:
    """What every run has. Subclasses check themselves: an object that exists is valid."""

    dataset: str
    weights: str = option("imagenet", "pretrained weights: imagenet, none, the path of a state dict, or run:ID of an earlier run")
    architecture: str = option("resnet18", "the network", choices=ARCHITECTURES)
    image_size: int = option(256, "pixels: the shorter side is scaled to it, the centre square is kept", low=32, high=1024)
    batch_size: int = option(32, "images a step", low=1, high=4096)
    seed: int = option(0, "seed of the split, the head, the folds and the batches", low=0, high=2**31 - 1)
    device: str = option("auto", "where to compute", choices=DEVICES)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            check_option(f, getattr(self, f.name))
        if self.architecture == "vit_b_16" and self.image_size % 16:
            raise ConfigError(
                "vit_b_16 cuts images into patches of 16 px", got=f"--image-size {self.image_size}", allowed="multiples of 16"
            )

    divides: ClassVar[bool] = True
    """Whether its images are divided into parts that images of the same ground mustn't straddle."""

    @property
    def begins_with(self) -> str:
        """The weights that are really loaded, as `weights` names them."""
        return self.weights

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {"kind": KINDS[type(self)], **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}}


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """One training run."""

    mode: str = option("staged", "how to train", choices=MODES)
    protocol: str = option(
        "honest",
        "honest: 64/16/20, epoch chosen on val, test read once; given: the same, but test is the data set's own (split.csv); "
        "report: the reports' 80/20 with the test peak (biased)",
        choices=PROTOCOLS,
    )
    test_share: float = option(0.2, "share of the images that is test", low=0.01, high=0.99)
    val_share: float = option(
        0.2, "of what isn't test, the share on which the epoch is chosen; none in protocol report", low=0.01, high=0.99
    )
    train_share: float = option(1.0, "of what isn't test, the share that is used at all, alike in every class", low=0.0001, high=1.0)
    per_class: int | None = option(
        None, "of what isn't test, use so many images of each class, those for choosing the epoch among them", low=2, high=10**6
    )
    epochs: int | None = option(
        None, "epochs in all (staged: shared out 50:80:20; default 150, self-paced 100, others 20 to 100)", low=1, high=10000
    )
    stage_epochs: tuple[int, int, int] | None = option(
        None, "staged: epochs on easy, easy + medium, all (default 50 80 20)", low=0, high=10000
    )
    levels: str = option(
        "people",
        "staged: whose levels order the images; model: its out-of-fold losses on the training images, cut as people did",
        choices=ORDER_SOURCES,
    )
    ordering: str = option(
        "curriculum",
        "staged, self-paced, paced: the easy images first, or a control: the hard ones, any, or all at once",
        choices=ORDERINGS,
    )
    learning_rate: float | None = option(
        None, "learning rate at the start (default: 1e-3 for transfer, 1e-4 for the others, 5e-2 for scratch)", low=0.0, high=10.0
    )
    rate_rule: str | None = option(
        None,
        "accuracy: x1, x0.5, x0.05, x0.001 at 0.85, 0.89, 0.92 train accuracy; constant; one-cycle: up, then down to nothing "
        "(default: see README)",
        choices=RATE_RULES,
    )
    optimizer: str | None = option(None, "what follows the gradient (default: sgd for scratch, adam for the others)", choices=OPTIMIZERS)
    momentum: float = option(0.9, "of sgd", low=0.0, high=0.9999)
    weight_decay: float | None = option(
        None, "pull of the parameters towards 0 (default: 5e-4 for scratch, 0 for the others)", low=0.0, high=10.0
    )
    freeze: tuple[str, ...] = option((), "parameters that don't learn, by name with * and ?, such as 'layer1.*'; layers that are frozen whole "
                                         "keep their batch norm statistics too")  # fmt: skip
    head_init: str = option("default", "how the new head is drawn: torch's own way, or xavier-normal with biases at 0", choices=HEAD_INITS)
    normalise: str = option("imagenet", "by which mean and deviation of the channels: imagenet's, or computed on the training images",
                            choices=NORMALISATIONS)  # fmt: skip
    patience: int | None = option(None, "end after so many epochs without a better one on val", low=1, high=10000)
    multi_label: bool = option(
        False, "an image has every class that classes.csv gives it; binary cross-entropy; right is a class that it has"
    )
    variant: str = option(
        "balanced",
        "self-paced: what the easiest are; balanced: the same share of each class, as-written: over all classes, "
        "as-run: batches by their mean loss",
        choices=VARIANTS,
    )
    start_share: float = option(0.10, "self-paced, paced: share of the images that it starts with", low=0.001, high=1.0)
    step_share: float = option(0.05, "self-paced: share that a step adds", low=0.001, high=1.0)
    gate: float = option(0.85, "self-paced: train accuracy above which an epoch earns a step", low=0.0, high=1.0)
    slow_from: float = option(0.60, "self-paced: share from which a step needs two such epochs", low=0.0, high=1.0)
    replay: str | None = option(None, "self-paced --ordering random or anti-curriculum: the run whose subset sizes are taken")
    pacing: str = option("linear", "paced: how the share in use grows", choices=PACINGS)
    full_at: float = option(0.8, "paced: share of the training after which all images are in use", low=0.001, high=1.0)
    root: float = option(2.0, "paced --pacing root: the root's p; 1 is linear, 2 the square root", low=0.1, high=100.0)
    class_balanced: bool = option(True, "paced: each class grows alike; else the easiest over all classes")
    budget: int | None = option(None, "end after so many samples seen, whatever the number of epochs", low=1, high=10**12)
    noise: float = option(0.0, "share of the training images that get a wrong class, drawn from the seed", low=0.0, high=1.0)
    augment: str = option("auto", "how training images vary: mirror: left and right swapped; turns: flipped and rotated by 90 degrees; "
                                  "crops, mirror-crops: shifted too; auto: turns for scratch, none for the others", choices=AUGMENTATIONS)  # fmt: skip
    dynamics: bool = option(True, "judge all training images after each epoch; scores of training dynamics come from it")
    knn_k: int = option(5, "neighbours of the KNN metric", low=1, high=100)

    @property
    def begins_with(self) -> str:
        return "none" if self.mode == "scratch" else self.weights

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.stage_epochs is not None:
            raise ConfigError("--epochs and --stage-epochs say the same thing twice", todo="Give one of them.")
        if self.mode == "staged" and self.epochs is not None and self.epochs < len(LEVELS):
            raise ConfigError("--mode staged has three stages, and with fewer epochs the hard images are never used", got=f"--epochs {self.epochs}",
                              allowed=f"{len(LEVELS)} and more", todo="To leave stages out on purpose use --stage-epochs.")  # fmt: skip
        if self.stage_epochs is not None and self.mode != "staged":
            raise ConfigError("--stage-epochs only fits --mode staged", got=self.mode, todo="Use --epochs.")
        if self.stage_epochs is not None and len(self.stage_epochs) != len(LEVELS):
            raise ConfigError("--stage-epochs takes three numbers: easy, easy + medium, all", got=self.stage_epochs)
        if self.stage_epochs is not None and sum(self.stage_epochs) == 0:
            raise ConfigError("--stage-epochs leaves nothing to train", got=self.stage_epochs)
        if self.variant != "balanced" and self.mode != "self-paced":
            raise ConfigError("--variant only fits --mode self-paced", got=self.mode, todo="Leave it out.")
        if self.ordering != "curriculum" and self.mode not in CURRICULA:
            raise ConfigError("--ordering only fits the modes that order images", got=self.mode, allowed=CURRICULA)
        if self.ordering == "standard" and self.mode != "paced":
            raise ConfigError("all images from the start is --mode fine-tune", got=f"--mode {self.mode} --ordering standard")
        if self.replay and (self.mode != "self-paced" or self.ordering == "curriculum"):
            raise ConfigError("--replay only fits --mode self-paced in another order than its own",
                              got=f"--mode {self.mode} --ordering {self.ordering}", allowed=["random", "anti-curriculum"])  # fmt: skip
        if self.mode == "self-paced" and self.ordering == "random" and not self.replay:
            raise ConfigError("--mode self-paced --ordering random needs --replay RUN", got="no run",
                              todo="Give the self-paced run whose subset sizes are to be taken.")  # fmt: skip
        if self.variant == "as-run" and self.ordering == "anti_curriculum":
            raise ConfigError("--variant as-run has no reverse", todo="Take --variant balanced with --ordering anti-curriculum.")
        self._check_rest()

    def _check_rest(self) -> None:
        if self.patience is not None and (self.mode in CURRICULA or self.protocol == "report"):
            raise ConfigError("--patience looks at val, and only where the training images stay the same",
                              got=f"--mode {self.mode} --protocol {self.protocol}", allowed="fine-tune, transfer, scratch; honest, given")  # fmt: skip
        if self.train_share != 1.0 and self.per_class is not None:
            raise ConfigError("--train-share and --per-class say the same thing twice", todo="Give one of them.")
        if self.freeze and self.mode == "transfer":
            raise ConfigError("--mode transfer freezes all but the head already", got=" ".join(self.freeze), todo="Use --mode fine-tune.")
        if self.mode == "transfer" and self.augment not in ("auto", "none"):
            raise ConfigError("--augment varies images, and --mode transfer learns from features that were stored once", got=self.augment,
                              allowed="auto, none", todo="Leave it out, or use --mode fine-tune with --freeze.")  # fmt: skip
        if self.mode == "transfer" and self.architecture.startswith("squeezenet"):
            raise ConfigError("SqueezeNet's head is a convolution and can't learn from stored features", got="--mode transfer",
                              todo="Use --mode fine-tune --freeze 'features.*': the same, slower.")  # fmt: skip
        if self.multi_label and (self.mode in CURRICULA or self.noise):
            raise ConfigError("--multi-label has no order of difficulty and no wrong classes yet", got=f"--mode {self.mode} --noise {self.noise:g}",
                              allowed="fine-tune, transfer, scratch without --noise")  # fmt: skip
        if self.mode == "scratch" and self.weights not in ("none", "imagenet"):
            raise ConfigError("--mode scratch starts from random weights", got=self.weights, allowed=["none"])


@dataclass(frozen=True)
class ScoreConfig(RunConfig):
    """One scoring run: a raw score and a difficulty for every image of a data set."""

    method: str = option("oof_loss", "what to measure", choices=SCORE_METHODS)
    run: str | None = option(None, "for method loss: the run whose model judges")
    folds: int = option(5, "folds of the out-of-fold heads", low=2, high=50)
    repeats: int = option(3, "how often the folds are drawn anew; the mean loss counts, their agreement is stored", low=1, high=50)

    @property
    def begins_with(self) -> str:
        return f"run:{self.run}" if self.method == "loss" else self.weights

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "loss" and not self.run:
            raise ConfigError("method loss needs the run whose model judges", todo="Add --run ID; `runs list` shows them.")


SUFFIXES: dict[str, dict[str, Any]] = {"": {}, "-random": {"ordering": "random"}, "-anti": {"ordering": "anti_curriculum"}}
ARMS: dict[str, dict[str, Any]] = {
    "fine-tune": {"mode": "fine-tune"},
    "transfer": {"mode": "transfer"},
    **{
        base + suffix: {**options, **changes}
        for base, options in {
            "staged": {"mode": "staged"},
            "staged-model": {"mode": "staged", "levels": "model"},
            "self-paced": {"mode": "self-paced"},
            "self-paced-as-written": {"mode": "self-paced", "variant": "as-written"},
            "self-paced-as-run": {"mode": "self-paced", "variant": "as-run"},
            "paced": {"mode": "paced"},
        }.items()
        for suffix, changes in SUFFIXES.items()
        if (base, suffix) != ("self-paced-as-run", "-anti")
    },
}
"""What can stand in a comparison, as changes to a training configuration. -random: the same sizes, the images drawn by chance; -anti: the
same sizes, the hard ones first. Both have as many images of each class at each step as their arm, wherever an order fixes that: all but
self-paced-as-written, which takes the easiest whatever their class, and self-paced-as-run, which takes batches."""


ARM_MEANING = {
    "staged": "easy, then medium too, then all, by the labels' levels",
    "staged-model": "easy, then medium too, then all, by the model's own levels",
    "self-paced": "the model's own easiest first, more whenever it has learnt them",
    "self-paced-as-written": "whatever their class, as the reports say",
    "self-paced-as-run": "batches by their mean loss, as the reports' script did",
    "paced": "the model's ranking, more by a fixed function",
    "staged-anti": "the hardest first, as many at each stage as staged has",
    "self-paced-anti": "the model's own hardest first",
    "paced-anti": "the model's ranking from its hard end",
    "transfer": "only the last layer learns: the reports' control",
}
"""What a person may choose; the controls join by themselves."""


@dataclass(frozen=True)
class CompareConfig(RunConfig):
    """Arms x paired seeds at one budget of samples seen; plain fine-tuning and random controls always join."""

    arms: tuple[str, ...] = option(("staged", "self-paced"), "what to compare with plain fine-tuning", choices=tuple(ARMS))
    seeds: int = option(5, "how many paired seeds, from --seed on: each its own split, head and batches", low=1, high=1000)
    epochs: int = option(20, "budget of every arm: as many samples as this many passes over the training images", low=1, high=10000)
    short: bool = option(False, "a fifth of that budget: curricula are said to help where time is short")
    protocol: str = option("honest", "honest: 64/16/20, epoch chosen on val; report: 80/20, the last epoch", choices=("honest", "report"))
    levels: str = option("people", "arm staged: whose levels order the images", choices=ORDER_SOURCES)
    noise: float = option(0.0, "share of the training images that get a wrong class, such as 0.2 or 0.4", low=0.0, high=1.0)
    learning_rate: float = option(1e-4, "constant learning rate of every arm but transfer", low=0.0, high=10.0)
    start_share: float = option(0.10, "self-paced, paced: share of the images that it starts with", low=0.001, high=1.0)
    step_share: float = option(0.05, "self-paced: share that a step adds", low=0.001, high=1.0)
    pacing: str = option("linear", "paced: how the share in use grows", choices=PACINGS)
    full_at: float = option(0.8, "paced: share of the training after which all images are in use", low=0.001, high=1.0)
    augment: str = option("none", "how training images vary in every arm", choices=AUGMENTATIONS)
    ray: str | None = option(None, "address of a Ray cluster whose machines train the arms, or auto; needs requirements-ray.txt")
    workers: int = option(1, "how many arms train at a time, each in a process of its own", low=1, high=256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.arms:
            raise ConfigError("--arms names nothing to compare", allowed=ARMS)

    @property
    def passes(self) -> int:
        """The budget in passes over the training images."""
        return max(1, round(self.epochs / 5)) if self.short else self.epochs

    def chains(self) -> list[tuple[str, ...]]:
        """All arms that take part, in groups of those that belong together: an arm, then what replays its sizes."""
        groups: dict[str, list[str]] = {"fine-tune": ["fine-tune"]}
        for arm in self.arms:
            base = base_of(arm)
            mine = groups.setdefault(base, [base])
            mine += [each for each in (control_of(base), arm) if each and each not in mine]
        return [tuple(group) for group in groups.values()]


def base_of(arm: str) -> str:
    """The arm that an arm is a control of; itself where it is none."""
    return arm.removesuffix("-random").removesuffix("-anti")


def control_of(arm: str) -> str | None:
    """The arm with the same sizes in random order; None for arms that order nothing."""
    return f"{base_of(arm)}-random" if ARMS[arm]["mode"] in CURRICULA else None


@dataclass(frozen=True)
class EpisodesConfig(RunConfig):
    """Few-shot episodes: a few classes and images are drawn, a small classifier learns them from a frozen network's features."""

    divides = False

    ways: int = option(5, "classes of an episode", low=2, high=1000)
    shots: int = option(5, "training images of each class", low=1, high=1000)
    queries: int = option(15, "test images of each class", low=1, high=1000)
    episodes: int = option(600, "how many are drawn", low=2, high=100_000)
    classifier: str = option("logistic", "what learns: logistic regression, or the nearest class mean", choices=EPISODE_CLASSIFIERS)


@dataclass(frozen=True)
class LookConfig(RunConfig):
    """One picture through one network: its most probable classes, the first layer's filters and what they answer."""

    divides = False

    example: str | None = option(None, "class/file (default: the data set's first)")
    top: int = option(5, "how many classes", low=1, high=1000)


KINDS: dict[type[RunConfig], str] = {
    TrainConfig: "train", ScoreConfig: "score", CompareConfig: "compare", EpisodesConfig: "episodes", LookConfig: "look",
}  # fmt: skip
Config = TrainConfig | ScoreConfig | CompareConfig | EpisodesConfig | LookConfig


def mode_of(config: Config) -> str:
    """What a run does, in a word: its training mode, its score, or what kind of run it is."""
    if isinstance(config, CompareConfig):
        return "compare"
    if isinstance(config, ScoreConfig):
        return config.method
    return config.mode if isinstance(config, TrainConfig) else KINDS[type(config)]


def check_option(f: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError, by the flag's own name, when a value is outside its choices or its range."""
    flag, meta = "--" + f.name.replace("_", "-"), f.metadata
    kind = str(f.type)
    if value is None and "None" in kind:
        return
    if value is None or (not meta and not isinstance(value, str)):
        raise ConfigError(f"{flag} needs a value", got=value)
    if not meta:
        return
    if kind.startswith("tuple") != isinstance(value, tuple):
        raise ConfigError(f"{flag} takes {'a list' if kind.startswith('tuple') else 'one value'}", got=value)
    if kind.startswith(("str", "tuple[str")) and not all(isinstance(v, str) for v in (value if isinstance(value, tuple) else (value,))):
        raise ConfigError(f"{flag} takes text", got=value)
    if kind.startswith("float") and isinstance(value, bool):
        raise ConfigError(f"{flag} takes a number", got=value)
    if kind.startswith(("int", "tuple[int")) and not all(type(v) is int for v in (value if isinstance(value, tuple) else (value,))):
        raise ConfigError(f"{flag} takes whole numbers", got=value)
    if f.type == "bool" and type(value) is not bool:
        raise ConfigError(f"{flag} is either on or off", got=value, allowed=[True, False])
    for each in (value if isinstance(value, tuple) else (value,)) if meta["choices"] else ():
        if each not in meta["choices"]:
            raise ConfigError(f"{flag} has an unknown value", got=each, allowed=meta["choices"])
    for number in value if isinstance(value, tuple) else (value,):
        low, high = meta["low"], meta["high"]
        if low is not None and not (isinstance(number, int | float) and low <= number <= high):
            raise ConfigError(f"{flag} is out of range", got=number, allowed=f"{low} to {high}")


def config_from_json(record: dict[str, Any]) -> Config:
    """The configuration that `to_json` wrote; an unknown key or kind raises ConfigError."""
    values = dict(record) if isinstance(record, dict) else {}
    kind = values.pop("kind", None)
    by_kind: dict[Any, Any] = {name: each for each, name in KINDS.items()}
    if not isinstance(kind, str) or kind not in by_kind:
        raise ConfigError("a run's configuration has an unknown kind", got=kind, allowed=list(by_kind))
    known = {f.name for f in dataclasses.fields(by_kind[kind])}
    if unknown := set(values) - known:
        raise ConfigError("a run's configuration has unknown options", got=sorted(unknown), allowed=sorted(known))
    options: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    made: Config = by_kind[kind](**_as_it_was(options))
    return made


def _as_it_was(options: dict[str, Any]) -> dict[str, Any]:
    """What a run of an older version was told, as what it did: since then both are refused."""
    mode, epochs = options.get("mode"), options.get("epochs")
    if mode == "transfer" and options.get("augment", "auto") in [each for each in AUGMENTATIONS if each != "auto"]:
        return {**options, "augment": "none"}
    if mode == "staged" and type(epochs) is int and 1 <= epochs < len(LEVELS):
        return {**options, "epochs": None, "stage_epochs": (epochs - 1, 1, 0)}
    return options
