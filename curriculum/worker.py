"""The process that computes: `python -m curriculum.worker RUN_DIRECTORY ...`.

Reads a run directory, trains or scores, writes the results back into it. It never opens the database
and needs nobody: it survives the app and can be killed at any moment.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from curriculum import difficulty, episodes, outputs, score
from curriculum.cache import CachedRows
from curriculum.charts.overlays import filter_grid, map_grid
from curriculum.config import EpisodesConfig, LookConfig, RunConfig, ScoreConfig, TrainConfig
from curriculum.difficulty import FROM_FEATURES, FROM_PROBABILITIES, Dynamics
from curriculum.errors import CancelledError, RunError, no_memory
from curriculum.files import write_json, write_whole
from curriculum.first_layer import activations, filters
from curriculum.images import load_images
from curriculum.judging import Inputs, Judge, Objective
from curriculum.metrics import accuracy
from curriculum.model import (
    IMAGENET,
    Channels,
    Weights,
    autocast,
    build,
    channel_statistics,
    head_of,
    load_weights,
    normalise,
    pick_device,
    restore,
)  # fmt: skip
from curriculum.priority import step_back
from curriculum.ranks import Ranks, join, leave, on_device
from curriculum.records import TrainingData
from curriculum.reporter import Listener, Reporter, supervise
from curriculum.rundir import RunDir
from curriculum.schedule import lessons_of
from curriculum.train import Training
from curriculum.vocabulary import CURRICULA, LEVELS

CHECKPOINT_SHARE = 20
"""A checkpoint is due when this many times its own cost has been worked since the last one: at most 5 % is spent on them. After the last epoch
none is: what is left takes less long than writing it may."""


def work(run: RunDir) -> int:
    """Do what the run directory asks for; returns the process's exit code. Whatever fails is said in status.json."""
    if run.result() is not None:
        join().share("")  # nothing is left to do for anybody
    try:
        return supervise(run, lambda reporter: _work(run, reporter))
    finally:
        gc.collect()  # a network and what judges it refer to one another; the next run of this process needs their memory


def attend() -> None:
    """Do one's share of the run that the first of several ranks was given, and write nothing."""
    ranks = join()
    if path := ranks.share(""):
        run = RunDir(Path(path))
        _compute(run, Listener(run), ranks)


def _work(run: RunDir, reporter: Reporter) -> None:
    ranks = join()
    ranks.share(str(run.path))
    _compute(run, reporter, ranks)


def _compute(run: RunDir, reporter: Reporter, ranks: Ranks) -> None:
    config, request, order = run.config(), run.request(), run.order()
    ranks = on_device(ranks, pick_device(config.device))
    reporter.write(phase="weights")
    if isinstance(config, TrainConfig):
        _train(run, config, request, order, reporter, ranks)
    elif isinstance(config, ScoreConfig):
        _score(run, config, request, order, reporter, ranks)
    elif isinstance(config, EpisodesConfig):
        _episodes(run, config, request, order, reporter, ranks)
    elif isinstance(config, LookConfig):
        _look(run, config, request, order, reporter, ranks)
    else:
        raise RunError("a comparison has a process of its own", got=run.run_id)


def _images(request: dict[str, Any], order: pd.DataFrame, size: int, reporter: Reporter, ranks: Ranks) -> CachedRows:
    def progress(done: int, total: int) -> None:
        if reporter.should_stop():
            raise CancelledError("the run was cancelled while decoding images; what was decoded is kept")
        reporter.progress("decoding images", done, total)

    def load() -> CachedRows:
        return load_images(
            Path(request["root"]), order["example"].tolist(), order["sha256"].tolist(), size, Path(request["cache"]), progress
        )

    if ranks.first:
        load()
    ranks.any(False)  # the first decodes, then all read
    return load()


def _weights(config: RunConfig, request: dict[str, Any]) -> Weights:
    return load_weights(config.begins_with, Path(request["runs"]), config.architecture, config.image_size)


def _watched(reporter: Reporter) -> Callable[[str, int, int], None]:
    """Progress that also looks whether to stop."""

    def say(phase: str, done: int, total: int) -> None:
        if reporter.should_stop():
            raise CancelledError("the run was cancelled")
        reporter.progress(phase, done, total)

    return say


# -- training ------------------------------------------------------------------------------------


def _train(run: RunDir, config: TrainConfig, request: dict[str, Any], order: pd.DataFrame, reporter: Reporter, ranks: Ranks) -> None:
    weights = _weights(config, request)
    images = _images(request, order, config.image_size, reporter, ranks)
    features = _features(config, request, order, images, weights, reporter, ranks) if config.mode == "transfer" else None
    data = _training_data(config, request, order, images, weights, reporter, ranks)
    replay = _replayed(RunDir(Path(request["runs"]) / config.replay)) if config.replay else ()
    training = Training(
        config, data, weights, features=features, replay=replay, ranks=ranks, should_stop=reporter.should_stop, progress=reporter.progress,
    )  # fmt: skip
    said: list[NDArray[np.float32]] = _take_up(run, training, reporter)
    ranks.any(False)  # all have read the checkpoint before there is another
    if not ranks.first:
        for _ in training.epochs():
            pass
        training.finish()
        return
    reporter.write(epochs=training.epoch + len(training.expected_sizes()), epoch=training.epoch)
    checkpointed, cost = time.monotonic(), 0.0
    pace: list[tuple[int, float]] = []
    for result in training.epochs():
        if training.said is not None:
            said.append(training.said)
        if config.mode in CURRICULA:  # before the epoch, so that no epoch is without its lesson
            run.append_lesson(result.epoch, np.isin(np.arange(len(training.train)), training.rows))
        run.append_epoch(asdict(result))
        pace.append((result.subset_size, result.seconds))
        coming = training.expected_sizes()
        if coming and time.monotonic() - checkpointed >= CHECKPOINT_SHARE * cost:
            before = time.monotonic()
            run.flush()
            _save_checkpoint(run, training, said, reporter.seconds)
            checkpointed, cost = time.monotonic(), time.monotonic() - before
        reporter.write(epoch=result.epoch, epochs=result.epoch + len(coming), seconds_left=_seconds_left(pace, coming),
                       phase="training", done=0, total=0)  # fmt: skip
    final = training.finish()
    predictions = outputs.predictions(order, request["classes"], final, training.data.labels)
    outputs.write_frame(run / "predictions.parquet", predictions)
    if said:
        dynamics = Dynamics(*np.stack(said, axis=1))
        outputs.write_frame(run / "dynamics.parquet", outputs.dynamics(predictions["example"].to_numpy()[training.train], dynamics))
        outputs.write_frame(run / "scores.parquet", outputs.training_scores(predictions.iloc[training.train], dynamics))
    outputs.write_tensors(run / "model.pt", {k: v.cpu() for k, v in training.full.state_dict().items()})
    run.flush()
    write_json(run / "result.json", outputs.train_result(run, config, training, final, reporter.seconds, request.get("notes", [])))
    (run / "checkpoint.pt").unlink(missing_ok=True)


def _replayed(run: RunDir) -> list[tuple[int, int]]:
    """The sizes of a finished run's epochs; fewer than it had would be another schedule."""
    epochs, result = run.epochs(), run.result() or {}
    if len(epochs) != result.get("epochs", len(epochs)):
        raise RunError("the run that is to be replayed has lost epochs", got=f"{len(epochs)} of {result['epochs']} in {run / 'epochs.jsonl'}",
                       todo="Train it anew, or restore the file")  # fmt: skip
    return lessons_of(epochs)


def _training_data(
    config: TrainConfig,
    request: dict[str, Any],
    order: pd.DataFrame,
    images: CachedRows,
    weights: Weights,
    reporter: Reporter,
    ranks: Ranks,
) -> TrainingData:
    """What the run learns from: wrong classes where they are asked for, and the model's own ranking where it orders the images."""
    labels, splits, classes = outputs.class_indices(request, order), order["split"].to_numpy(np.str_), tuple(request["classes"])
    train = splits == "train"
    if config.noise:
        labels[train] = wrong_classes(labels[train], len(classes), config.noise, config.seed)
    levels = np.asarray(order["level"].map({level: i for i, level in enumerate(LEVELS)}).fillna(-1), dtype=np.int64)
    ranking = None
    if config.mode == "paced" or (config.mode == "staged" and config.levels == "model"):
        features = _features(config, request, order, images, weights, reporter, ranks)
        losses = score.losses_from_train(
            features, labels, train, _groups(order), classes,
            seed=config.seed, progress=reporter.progress, should_stop=reporter.should_stop,
        )  # fmt: skip
        ranking = difficulty.rank_difficulty(losses)
        if config.levels == "model" and config.mode == "staged":
            levels = difficulty.levels_as_people(ranking, [classes[label] for label in labels], splits)
    joint = np.stack([np.isin(classes, said) for said in order["classes"]]) if config.multi_label else None
    return TrainingData(images, labels, levels, splits, classes, ranking, joint)


def _features(
    config: RunConfig, request: dict[str, Any], order: pd.DataFrame, images: CachedRows, weights: Weights,
    reporter: Reporter, ranks: Ranks,
) -> NDArray[np.float32]:  # fmt: skip
    channels = IMAGENET
    if isinstance(config, TrainConfig):
        if config.normalise == "computed":
            channels = channel_statistics(images, np.flatnonzero(order["split"] == "train"))
    elif config.weights.startswith("run:"):  # a network judges images as it has learnt to see them
        channels = Channels.of(RunDir(Path(request["runs"]) / config.weights.removeprefix("run:")).result())
    return score.extract_features(
        weights, images, order["sha256"].tolist(), ranks.device, Path(request["cache"]),
        seed=config.seed, progress=reporter.progress, should_stop=reporter.should_stop, ranks=ranks,
        channels=channels,
    )  # fmt: skip


def wrong_classes(labels: NDArray[np.int64], classes: int, share: float, seed: int) -> NDArray[np.int64]:
    """The same labels (n,), but round(share * n) of them, drawn from the seed, are another class, each other one as likely."""
    random = np.random.default_rng((seed, 0, 0, 3))  # apart from every epoch's (seed, epoch)
    rows = random.permutation(len(labels))[: round(share * len(labels))]
    changed = labels.copy()
    changed[rows] = (labels[rows] + random.integers(1, max(classes, 2), len(rows))) % classes
    return changed


def _groups(order: pd.DataFrame) -> list[int | None]:
    return [None if pd.isna(group) else int(group) for group in order["overlap_group"]]


def _take_up(run: RunDir, training: Training, reporter: Reporter) -> list[NDArray[np.float32]]:
    """Go on from the last checkpoint, if there is one."""
    saved = _checkpoint(run)
    if saved is None:
        if training.ranks.first:
            run.keep_epochs(0)
        return []
    training.restore(saved["training"])
    reporter.before = saved["seconds"]
    if training.ranks.first:
        run.keep_epochs(training.epoch)
    return list(saved["said"].numpy())


def _checkpoint(run: RunDir) -> dict[str, Any] | None:
    """The last checkpoint; None where there is none, or it is damaged: it is set aside then, and the run begins anew."""
    path = run / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)  # restoring moves what belongs on the device
        if {"training", "said", "seconds"} <= saved.keys():
            return saved
        reason = "it isn't whole, or of an older version of this program"
    except Exception as error:
        if no_memory(error):  # of the machine's, which says nothing of the file
            raise
        reason = f"{type(error).__name__}: {error}"
    print(f"The checkpoint is damaged ({reason}). It is kept as {path}.damaged, and the run begins anew.", file=sys.stderr, flush=True)
    path.replace(path.with_name(f"{path.name}.damaged"))
    return None


def _save_checkpoint(run: RunDir, training: Training, said: list[NDArray[np.float32]], seconds: float) -> None:
    kept = torch.from_numpy(np.stack(said)) if said else torch.empty(0)
    outputs.write_tensors(run / "checkpoint.pt", {"training": training.state(), "said": kept, "seconds": seconds})


def _seconds_left(pace: list[tuple[int, float]], coming: list[int]) -> float:
    """From the last epochs' sizes and times: a fixed part (judging) and a part for each image."""
    sizes, seconds = np.array(pace[-10:], dtype=float).T
    if np.ptp(sizes) > 0.2 * sizes.mean():
        slope = max(float(np.polyfit(sizes, seconds, 1)[0]), 0.0)
        fixed = max(float(np.median(seconds - slope * sizes)), 0.0)
    else:
        slope, fixed = 0.0, float(np.median(seconds))
    return float(sum(fixed + slope * size for size in coming))


# -- scoring -------------------------------------------------------------------------------------


def _score(run: RunDir, config: ScoreConfig, request: dict[str, Any], order: pd.DataFrame, reporter: Reporter, ranks: Ranks) -> None:
    labels = outputs.class_indices(request, order)
    source = _weights(config, request)
    images = _images(request, order, config.image_size, reporter, ranks)
    features = None
    if config.method == "loss":
        channels = Channels.of(RunDir(Path(request["runs"]) / str(config.run)).result())
        net = restore(len(request["classes"]), source, config.image_size).to(ranks.device)
        objective = Objective(labels, None, ranks.device)
        inputs = Inputs(images, ranks.device, channels)
        scores = score.model_losses(Judge(net, head_of(net, source), inputs, objective, ranks, 1, _watched(reporter)), len(labels))
    else:
        features = _features(config, request, order, images, source, reporter, ranks)
        if not ranks.first:
            return  # the heads are small: the first trains them alone
        scores = score.out_of_fold_losses(
            features, labels, _groups(order), folds=config.folds, repeats=config.repeats, seed=config.seed,
            progress=reporter.progress, should_stop=reporter.should_stop,
        )  # fmt: skip
    if not ranks.first:
        return
    names = np.array(request["classes"])
    said = pd.DataFrame({
        "example": order["example"], "predicted": names[scores.probabilities.argmax(1)],
        "probability_true": scores.probabilities[np.arange(len(labels)), labels].astype(float),
        "probabilities": list(scores.probabilities),
    })  # fmt: skip
    measured = {config.method: scores.values} | {name: of(scores.probabilities, labels) for name, of in FROM_PROBABILITIES.items()}
    if features is not None:
        measured |= {name: of(features, labels) for name, of in FROM_FEATURES.items()}
    measured |= {"ensemble": difficulty.ensemble(list(measured.values())), "random": difficulty.random_score(len(labels), config.seed)}
    outputs.write_frame(run / "scores.parquet", outputs.in_rows(measured, said))
    outputs.write_frame(run / "repeats.parquet", pd.DataFrame({"example": order["example"], "losses": list(scores.repeats.T)}))
    write_json(run / "result.json", {
        "run_id": run.run_id, "dataset": config.dataset, "method": config.method, "examples": len(labels), "seconds": reporter.seconds,
        "mean_loss": float(scores.values.mean()), "accuracy": accuracy(scores.probabilities, labels), "stability": scores.stability,
        "notes": request.get("notes", []),
    })  # fmt: skip


# -- few shots, one picture -----------------------------------------------------------------------


def _episodes(run: RunDir, config: EpisodesConfig, request: dict[str, Any], order: pd.DataFrame, reporter: Reporter, ranks: Ranks) -> None:
    weights = _weights(config, request)
    images = _images(request, order, config.image_size, reporter, ranks)
    features = _features(config, request, order, images, weights, reporter, ranks)
    if not ranks.first:
        return
    found = episodes.accuracies(
        features, outputs.class_indices(request, order), ways=config.ways, shots=config.shots, queries=config.queries,
        episodes=config.episodes, classifier=config.classifier, seed=config.seed, progress=_watched(reporter),  # type: ignore[arg-type]
    )  # fmt: skip
    low, high = episodes.interval(found)
    write_json(run / "result.json", {
        "run_id": run.run_id, "dataset": config.dataset, "examples": len(order), "classes": request["classes"], "seconds": reporter.seconds,
        "accuracy": float(found.mean()), "sd": float(found.std(ddof=1)), "low": low, "high": high, "episodes": config.episodes,
        "notes": request.get("notes", []),
    })  # fmt: skip


def _look(run: RunDir, config: LookConfig, request: dict[str, Any], order: pd.DataFrame, reporter: Reporter, ranks: Ranks) -> None:
    """A picture's most probable classes, by the names that the weights know; the first layer's filters and answers as pictures."""
    if not ranks.first:
        return
    weights = _weights(config, request)
    names, channels = _names(config, request, weights)
    net = restore(len(names), weights, config.image_size) if weights.state else build(len(names), weights, config.seed, config.image_size)
    image = np.asarray(_images(request, order, config.image_size, reporter, ranks)[[0]], dtype=np.uint8)
    with torch.inference_mode(), autocast(ranks.device):
        logits = net.to(ranks.device).eval()(normalise(torch.from_numpy(image).to(ranks.device), channels))
    said = logits.float().softmax(1)[0].cpu().numpy()
    before, after = activations(net, image[0], ranks.device, channels)
    peak = float(np.abs(before).max())
    kernels = filters(net)
    for name, pixels in (
        ("image", image[0]), ("filters", filter_grid(kernels, columns=12)), ("before", map_grid(before[:16], peak)), ("after", map_grid(after[:16], peak)),
    ):  # fmt: skip
        write_whole(run / f"{name}.png", lambda path, pixels=pixels: Image.fromarray(pixels).save(path, format="PNG"))  # type: ignore[misc]
    top = [{"class": names[i], "probability": float(said[i])} for i in np.argsort(-said, kind="stable")[: config.top]]
    write_json(run / "result.json", {
        "run_id": run.run_id, "dataset": config.dataset, "example": order["example"].iloc[0], "top": top, "filters": len(kernels),
        "first_probability": top[0]["probability"], "seconds": reporter.seconds, "notes": request.get("notes", []),
    })  # fmt: skip


def _names(config: LookConfig, request: dict[str, Any], weights: Weights) -> tuple[list[str], Channels]:
    """What the weights' classes are called, and by what their images were normalised."""
    if config.weights.startswith("run:"):
        run = RunDir(Path(request["runs"]) / config.weights.removeprefix("run:"))
        return list(run.request()["classes"]), Channels.of(run.result())
    published = weights.plan.published
    if config.weights == "imagenet" and published is not None:
        return list(published.meta["categories"]), IMAGENET
    heads = [value for name, value in (weights.state or {}).items() if name.startswith(weights.plan.head + ".")]
    rows = len(heads[0]) if heads else 1000  # of weights without a head: loading refuses them
    return [f"class {number}" for number in range(rows)], IMAGENET


def main() -> int:
    """Work on the given run directories one after another; the first that fails ends it. `--join`: be one of several ranks."""
    step_back(10)
    if sys.argv[1:] == ["--join"]:
        attend()
        code = 0
    else:
        code = next((code for path in sys.argv[1:] if (code := work(RunDir(Path(path))))), 0)
    leave()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
