"""The closed vocabularies: every word that can be chosen, and what it means, one and the same in the database, at the command line and on pages."""

from __future__ import annotations

from typing import Literal, get_args

Level = Literal["easy", "medium", "hard"]
Split = Literal["train", "val", "test"]
Mode = Literal["staged", "self-paced", "paced", "transfer", "fine-tune", "scratch"]
Protocol = Literal["honest", "given", "report"]
LevelSource = Literal["people", "simulated", "all"]
ScoreMethod = Literal["oof_loss", "loss"]
RateRule = Literal["accuracy", "constant", "one-cycle"]
Variant = Literal["balanced", "as-written", "as-run"]
Ordering = Literal["curriculum", "anti_curriculum", "random", "standard"]
Pacing = Literal["step", "linear", "root", "exponential", "logarithmic", "staircase"]
OrderSource = Literal["people", "simulated", "all", "model"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Architecture = Literal[
    "resnet18", "resnet34", "resnet50", "resnet50_layer2", "vgg16", "squeezenet1_0", "squeezenet1_1", "vit_b_16", "lenet5", "small_cnn",
]  # fmt: skip
Augmentation = Literal["auto", "none", "mirror", "mirror-crops", "turns", "crops"]
Optimizer = Literal["adam", "adamw", "sgd"]
HeadInit = Literal["default", "xavier-normal"]
Normalisation = Literal["imagenet", "computed"]
EpisodeClassifier = Literal["logistic", "nearest-mean"]
Scale = Literal["full", "small"]
Superpixels = Literal["quickshift", "slic", "felzenszwalb"]
Projection = Literal["pca", "t-sne"]
Among = Literal["test", "all"]
RunState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]

LEVELS: tuple[Level, ...] = get_args(Level)
SPLITS: tuple[Split, ...] = get_args(Split)
MODES: tuple[Mode, ...] = get_args(Mode)
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
LEVEL_SOURCES: tuple[LevelSource, ...] = get_args(LevelSource)
SCORE_METHODS: tuple[ScoreMethod, ...] = get_args(ScoreMethod)
RATE_RULES: tuple[RateRule, ...] = get_args(RateRule)
VARIANTS: tuple[Variant, ...] = get_args(Variant)
ORDERINGS: tuple[Ordering, ...] = get_args(Ordering)
PACINGS: tuple[Pacing, ...] = get_args(Pacing)
ORDER_SOURCES: tuple[OrderSource, ...] = get_args(OrderSource)
CURRICULA = ("staged", "self-paced", "paced")
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
HEAD_INITS: tuple[HeadInit, ...] = get_args(HeadInit)
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)
DEVICES: tuple[Device, ...] = get_args(Device)
EPISODE_CLASSIFIERS: tuple[EpisodeClassifier, ...] = get_args(EpisodeClassifier)
SCALES: tuple[Scale, ...] = get_args(Scale)
SUPERPIXELS: tuple[Superpixels, ...] = get_args(Superpixels)
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)
AMONG: tuple[Among, ...] = get_args(Among)

SIMULATED_PREFIX = "simulated-"
MODE_MEANING: dict[str, str] = {
    "staged": "easy images first, then medium too, then all, from the labels",
    "self-paced": "the model's own easiest images first, more whenever it has learnt them",
    "paced": "a model's ranking of the training images, the easiest first, more by a fixed pacing function",
    "fine-tune": "all layers, all images from the start: the control that a curriculum must beat",
    "transfer": "only the last layer learns, on frozen features: seconds",
    "scratch": "no pretrained weights, all images, flips and rotations",
}
VARIANT_MEANING: dict[Variant, str] = {
    "balanced": "the easiest images, the same share of each class",
    "as-written": "the easiest images whatever their class, as the reports say: at first it learns a class or two alone",
    "as-run": "batches drawn by chance, those of the lowest mean loss, as the reports' script really did",
}
AUGMENTATION_MEANING: dict[Augmentation, str] = {
    "auto": "the mode's own: turns for scratch",
    "none": "nothing",
    "mirror": "left and right swapped",
    "mirror-crops": "left and right swapped, shifted",
    "turns": "flips, turns by 90 degrees",
    "crops": "flips, turns by 90 degrees, shifted",
}
SUPERPIXELS_MEANING: dict[Superpixels, str] = {
    "quickshift": "lime's own: few, large regions that follow colour",
    "slic": "about 60 compact regions of like size",
    "felzenszwalb": "regions between strong edges, of very different size",
}
PACING_MEANING: dict[Pacing, str] = {
    "step": "the start for a while, then all at once",
    "linear": "steadily more",
    "root": "fast at first, slowly later",
    "exponential": "slowly at first, fast later",
    "logarithmic": "nearly all soon",
    "staircase": "doubled again and again",
}
ARCHITECTURE_TITLE: dict[str, str] = {
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
    "resnet50": "ResNet50",
    "resnet50_layer2": "ResNet50 up to layer2 less its last block",
    "vgg16": "VGG16",
    "squeezenet1_0": "SqueezeNet 1.0",
    "squeezenet1_1": "SqueezeNet 1.1",
    "vit_b_16": "ViT-B/16",
    "lenet5": "LeNet-5",
    "small_cnn": "a small CNN",
}
