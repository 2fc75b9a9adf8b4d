"""A run told to people who have no browser: what it found, in lines of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from curriculum import analysis, hits, mistakes, run_tables
from curriculum.config import CompareConfig, EpisodesConfig, LookConfig, ScoreConfig, TrainConfig
from curriculum.errors import RunError
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.words import duration, figure, interval, small

Result = dict[str, Any]
DAMAGE = (LookupError, TypeError, ValueError, AttributeError)
"""What comes of reading a result that somebody changed."""


def score_text(store: Store, result: Result) -> str:
    """Step 3 without a browser: the ranking's figures, and how it compares with people's levels."""
    lines = [f"run {result['run_id']}: {result['examples']} images scored by {result['method']} in {result['seconds']:.1f} s",
             f"  mean loss {result['mean_loss']:.3f}, accuracy {result['accuracy']:.3f}"]  # fmt: skip
    if result.get("stability") is not None:
        lines.append(f"  order repeats over re-drawn folds: Spearman {result['stability']:.3f}")
    lines += [f"  {note}" for note in result.get("notes", [])]
    for who in ("people", "simulated"):
        both = analysis.compared(analysis.ranked(store, result["dataset"], result["run_id"], who))
        agreed = analysis.agreement(both)
        if agreed.spearman.defined:
            said = (
                (name, getattr(agreed, key)) for key, name in (("spearman", "Spearman"), ("tau_b", "tau-b"), ("kappa", "weighted kappa"))
            )
            figures = ", ".join(f"{name} {interval(one.value, one.low, one.high, one.reason, '.3f')}" for name, one in said)
            lines.append(f"  with {who}'s levels: {figures}, n = {agreed.spearman.n}")
            lines.append("  rows: their level, columns: the model's in the same proportions\n" + analysis.level_table(both).to_string())
            for name in list(analysis.QUADRANTS)[:2]:
                shown = analysis.quadrant(both, name).head(5)
                lines += [f"  {name}: {row.example} (difficulty {row.difficulty:.2f})" for row in shown.itertuples()]
    return "\n".join(lines)


def train_text(store: Store, result: Result) -> str:
    """Step 5 without a browser: the figures, the confusion matrix, what is misclassified."""
    lines = [f"run {result['run_id']}: {result['mode']}, protocol {result['protocol']}, epoch {result['epoch']} of {result['epochs']}, "
             f"{duration(result['seconds'])}, {result['samples_seen']} samples seen on {result['device']}",
             f"  test accuracy {result['test_accuracy']:.4f}, loss {result['test_loss']:.4f}, KNN {figure(result['test_knn'])}"]  # fmt: skip
    if peak := run_tables.peak_of(result):
        lines.append(f"  peak test accuracy {peak} (picked on test: biased upwards)")
    lines += [f"  after stage {s['stage']} (epoch {s['epoch']}): test accuracy {s['accuracy']:.4f}, on its own levels "
              + (f"{s['own_accuracy']:.4f} of {s['own_examples']}" if s["own_accuracy"] is not None else "unknown") for s in result["stages"]]  # fmt: skip
    lines += [f"  {note}" for note in result["notes"]]
    if run := store.rows("SELECT config->>'multi_label' = 'true' FROM run WHERE run_id = ?", [result["run_id"]]):
        lines += [f"  {note}" for note in hits.notes({"multi_label": run[0][0]})]
    frame = mistakes.predictions(store, result["run_id"])
    wrong = frame[~frame["correct"]]
    lines += ["rows: true class, columns: predicted", mistakes.confusion(frame, tuple(result["classes"])).to_string()]
    lines += [
        f"{row['class']}: {row['share']:.1%} wrong ({row['wrong']} of {row['images']})"
        for row in mistakes.errors_by(frame, "class").to_dict("records")
    ]
    lines += [
        f"  {r['example']}: {r['predicted']} ({r['probability']:.2f}), people: {r['level'] if isinstance(r['level'], str) else 'no level'}"
        for r in wrong.head(10).to_dict("records")
    ]
    return "\n".join(lines)


def compare_text(_store: Store, result: Result) -> str:
    """Did the order help? The verdict, then what it rests on."""
    noise = f", {result['noise']:.0%} of the training images with a wrong class" if result["noise"] else ""
    lines = [result["verdict"], "",
             f"comparison {result['run_id']}: protocol {result['protocol']}, {result['passes']} passes' worth of samples in every arm{noise}",
             f"{'arm':<28}  accuracy     sd  loss   KNN    by seed"]  # fmt: skip
    for arm in result["arms"]:
        seeds = " ".join(f"{accuracy:.4f}" for accuracy in arm["seeds"])
        lines.append(f"{arm['arm']:<28}  {arm['mean']:.4f}  {figure(arm['sd'])}  {arm['loss']:.3f}  {figure(arm['knn'], '.3f')}  {seeds}")
        if arm["peak"] is not None:
            lines.append(f"{'':<28}  {arm['peak']:.4f}  the peak over epochs, picked on test: biased upwards")
    lines += ["", "differences in percentage points, 95 % interval, p (p by Holm's method):"]
    lines += [
        f"  {pair['a']} - {pair['b']}: {100 * pair['difference']:+.2f} [{100 * pair['low']:+.2f}, {100 * pair['high']:+.2f}], "
        f"{small(pair['p'])} ({small(pair['p_holm'])})"
        for pair in result["pairs"]
    ]
    if result["leak_percent"] is not None:
        lines.append(f"{result['leak_percent']} % of the test images show the same ground as a training image.")
    return "\n".join(lines + [f"  {note}" for note in result["notes"]])


def episodes_words(result: Result) -> str:
    """The mean accuracy over episodes and how sure it is."""
    between = f"95 % interval {result['low']:.4f} to {result['high']:.4f}"
    return f"accuracy {result['accuracy']:.4f}, {between}, over {result['episodes']:,} episodes"


def episodes_text(_store: Store, result: Result) -> str:
    """How well a few images suffice."""
    line = f"run {result['run_id']}: {episodes_words(result)} (SD {result['sd']:.3f}), {duration(result['seconds'])}"
    return "\n".join([line, *(f"  {note}" for note in result["notes"])])


def look_text(_store: Store, result: Result) -> str:
    """What one picture is taken for."""
    lines = [f"run {result['run_id']}: {result['example']}; image.png, filters.png, before.png and after.png lie in the run's directory"]
    return "\n".join(lines + [f"  {one['probability']:.4f}  {one['class']}" for one in result["top"]])


TEXTS: dict[type[Any], Callable[[Store, Result], str]] = {
    TrainConfig: train_text, ScoreConfig: score_text, CompareConfig: compare_text, EpisodesConfig: episodes_text, LookConfig: look_text,
}  # fmt: skip


def text_of(run: RunDir) -> Callable[[Store, Result], str]:
    """How a finished run is told; RunError where its result lacks what belongs there."""
    tell = TEXTS[type(run.config())]

    def told(store: Store, result: Result) -> str:
        try:
            return tell(store, result)
        except DAMAGE as error:
            raise RunError(
                f"result.json of run {run.run_id} is damaged", got=repr(error), todo="Restore the file, or delete the run"
            ) from error

    return told


def headline(result: Result | None) -> str:
    """The figure that a run is known by, in a few words; empty where there is none yet."""
    try:
        return _headline(result) if result else ""
    except DAMAGE as error:
        return f"its result is damaged: {error!r}"


def _headline(result: Result) -> str:
    if "verdict" in result:
        return str(result["verdict"])
    if "top" in result:
        return f"{result['top'][0]['class']}, {result['top'][0]['probability']:.0%}"
    if "episodes" in result:
        return episodes_words(result)
    return f"test accuracy {result['test_accuracy']:.4f}" if "test_accuracy" in result else f"mean loss {result['mean_loss']:.3f}"
