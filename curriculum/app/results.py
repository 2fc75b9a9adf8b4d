"""Results: what did the runs reach?"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from curriculum.app import layout
from curriculum.app.train import show_curves
from curriculum.charts.runs import curves, steps
from curriculum.config import DEFAULT_RATE, DEFAULT_RULE
from curriculum.words import duration, figure

REPORTED = pd.DataFrame(
    [("transfer (frozen)", 0.88, 0.38, 0.66), ("staged", 0.94, 0.22, 0.92), ("self-paced", 0.97, 0.13, 0.94)],
    columns=["method", "accuracy", "loss", "KNN"],
)
"""The reports' figures on RSSCN7 from ImageNet weights: 80/20 split, best epoch picked on test."""


def page() -> None:
    st.title("What did the runs reach?")
    dataset = layout.chosen_dataset()
    if dataset is None:
        return
    done = layout.finished_runs(dataset.name)
    if done is None:
        return
    _table(done, dataset.name)
    run_id = st.selectbox("Run", done["run_id"].tolist(), format_func=lambda run: describe(done, run), key="_result_run")
    _one(done.set_index("run_id").loc[run_id].to_dict(), run_id)


def describe(frame: pd.DataFrame, run_id: str) -> str:
    """A run in a picker: what, when, how good."""
    row: dict[Any, Any] = frame.set_index("run_id").loc[run_id].to_dict()
    config, accuracy = row["config"], row["result"]["test_accuracy"]
    how = f"{row['mode']}, rate {_rate(row['mode'], config)}, {config['image_size']} px, seed {row['seed']}, {row['protocol']}"
    return f"{how}, {row['created_at']:%d %b %H:%M}: {accuracy:.1%}"


def _rate(mode: str, config: dict[str, Any]) -> str:
    """The learning rate at the start, and whether it follows the train accuracy."""
    rate = DEFAULT_RATE[mode] if config["learning_rate"] is None else config["learning_rate"]
    return f"{rate:g}" + (" by accuracy" if (config["rate_rule"] or DEFAULT_RULE[mode]) == "accuracy" else "")


def _table(done: pd.DataFrame, dataset: str) -> None:
    results = pd.DataFrame(done["result"].tolist())
    table = pd.DataFrame({
        "method": done["mode"].to_numpy(), "protocol": done["protocol"].to_numpy(), "seed": done["seed"].to_numpy(),
        "weights": [str(config["weights"]).rsplit("/", 1)[-1] for config in done["config"]], "px": [config["image_size"] for config in done["config"]],
        "learning rate": [_rate(mode, config) for mode, config in zip(done["mode"], done["config"], strict=True)],
        "accuracy": results["test_accuracy"], "loss": results["test_loss"], "KNN": results["test_knn"],
        "peak (biased)": results["peak_test_accuracy"], "chosen epoch": results["epoch"], "samples seen": results["samples_seen"],
        "time": [duration(seconds) for seconds in results["seconds"]],
    }).dropna(axis="columns", how="all")  # fmt: skip
    shares = {column: st.column_config.NumberColumn(format="%.4f") for column in ("accuracy", "loss", "KNN", "peak (biased)")}
    st.dataframe(table, hide_index=True, column_config={**shares, "samples seen": st.column_config.NumberColumn(format="localized")})
    notes = ["Accuracy, loss and KNN are on test images that training never saw and no choice was made by (protocol honest)."]
    modes = set(done["mode"])
    if modes & {"staged", "self-paced"} and "fine-tune" not in modes:
        notes.append("**A control is missing**: compare with plain fine-tuning of all layers (mode fine-tune), not with a frozen network.")
    if done.groupby("mode")["seed"].nunique().max() < 5:
        notes.append("Fewer than five seeds a method: differences of a few points may be chance.")
    st.caption(" ".join(notes))
    if dataset == "rsscn7":
        with st.expander("The reports' figures on RSSCN7"):
            st.dataframe(
                REPORTED,
                hide_index=True,
                column_config={c: st.column_config.NumberColumn(format="%.2f") for c in ("accuracy", "loss", "KNN")},
            )
            st.caption("From ImageNet weights at 256 px, 80/20 split, the best epoch picked on the test set: compare with protocol report.")


def _one(row: dict[str, Any], run_id: str) -> None:
    result = row["result"]
    columns = st.columns(5)
    columns[0].metric(
        "Test accuracy", f"{result['test_accuracy']:.1%}", help=f"{result['examples']['test']:,} images, read once, at the chosen epoch."
    )
    columns[1].metric("Test loss", f"{result['test_loss']:.3f}", help="Cross-entropy in nats; lower is better.")
    columns[2].metric(
        "Test KNN", figure(result["test_knn"], ".3f"), help="Mean share of the 5 nearest test images in feature space with the same class."
    )
    columns[3].metric("Chosen epoch", f"{result['epoch']} of {result['epochs']}")
    columns[4].metric("Time", duration(result["seconds"]))
    if result["peak_test_accuracy"] is not None:
        st.caption(f"Peak over epochs, picked on test and so biased upwards: {result['peak_test_accuracy']:.1%}.")
    for note in result["notes"]:
        st.info(note, icon=":material/info:")
    epochs = layout.store().query("SELECT * FROM epoch WHERE run_id = ? ORDER BY epoch", [run_id])
    if not epochs.empty:
        show_curves(epochs)
        places = st.columns(3)
        if epochs[["val_knn", "test_knn"]].notna().any().any():
            places[0].altair_chart(curves(epochs, "knn", "KNN (share of same-class neighbours)"), width="stretch")
        places[1].altair_chart(steps(epochs, "learning_rate", "learning rate"), width="stretch")
        places[2].altair_chart(steps(epochs, "samples_seen", "samples seen"), width="stretch")
    if result["stages"]:
        st.header("After each stage, on test")
        stages = pd.DataFrame(result["stages"]).rename(columns={
            "own_accuracy": "accuracy on its own levels", "own_loss": "loss on its own levels", "own_examples": "images of its own levels",
            "accuracy": "accuracy on all", "loss": "loss on all", "knn": "KNN on all",
        })  # fmt: skip
        st.dataframe(
            stages,
            hide_index=True,
            column_config={
                c: st.column_config.NumberColumn(format="%.4f") for c in stages.columns if "accuracy" in c or "loss" in c or "KNN" in c
            },
        )
    layout.link("errors", "See what it misclassifies", ":material/error_outline:")
    with st.expander("Configuration"):
        st.code(json.dumps(row["config"], indent=1), language="json")
