"""Training: `Training.epochs()` yields one EpochResult at a time, `finish()` judges the chosen model.

No printing, no files, no database: `worker` does that. Whatever an epoch draws at random follows from
the seed and the epoch's number alone, so a run that is resumed from `state()` goes on exactly as it
would have.

Losses that pace or select are taken in eval mode on unaugmented images (the reports' scripts took
them in train mode, where batch norm moves).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curriculum import difficulty, pacing
from curriculum.config import DEFAULT_OPTIMIZER, DEFAULT_RATE, DEFAULT_RULE, TrainConfig
from curriculum.errors import CancelledError, RunError, no_memory
from curriculum.judging import Inputs, Judge, Objective
from curriculum.model import AUGMENT, IMAGENET, Weights, autocast, build, channel_statistics, freeze, head_of, pick_device
from curriculum.ranks import ALONE, Ranks
from curriculum.records import Best, EpochResult, Final, Outcome, Peak, StageResult, TrainingData
from curriculum.schedule import Schedule
from curriculum.splits import check_parts

SCRATCH_WEIGHT_DECAY = 5e-4
ADAM_MOMENTUM, MOMENTUM_SWING = 0.9, 0.05
Figures = tuple[float, float, float] | tuple[None, None, None]
NO_FIGURES: Figures = (None, None, None)


def _nothing(_phase: str, _done: int, _total: int) -> None:
    pass


def layer_seed(seed: int, epoch: int, rank: int) -> int:
    """For what layers draw in an epoch, such as dropout's masks: of torch's one generator, apart from what orders and augments images."""
    return int(np.random.SeedSequence((seed, epoch, rank, 4)).generate_state(1, np.uint64)[0])


class Training:
    """One run in progress.

    Args:
        config: what to do.
        data: what to learn from.
        weights: to start from; ignored by mode scratch.
        features: for mode transfer: (n, 512) penultimate features of all examples under `weights`.
        replay: for self-paced in another order: (size, samples) of each epoch of the run that is replayed.
        ranks: the processes that train together; each is given the same of all else.
        should_stop: asked before every batch; True raises CancelledError there.
        progress: called with (phase, done, total) after every batch.

    Raises:
        DatasetError: a split is empty. LabelsMissingError: staged, and no training image is labelled.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        weights: Weights,
        *,
        features: NDArray[np.float32] | None = None,
        replay: Sequence[tuple[int, int]] = (),
        ranks: Ranks = ALONE,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[str, int, int], None] = _nothing,
    ) -> None:
        self.config, self.data = config, data
        self.should_stop, self.progress, self.ranks = should_stop, progress, ranks
        self.device = ranks.device if ranks.size > 1 else pick_device(config.device)
        self.honest = config.protocol != "report"  # a val part chooses the epoch
        self.train, self.val, self.test = (data.indices(split) for split in ("train", "val", "test"))
        check_parts(data.splits.tolist(), config.protocol)
        difficulty = None if data.difficulty is None else data.difficulty[self.train]
        self.schedule = Schedule(config, data.labels[self.train], data.levels[self.train], difficulty, replay)
        self.base_rate = DEFAULT_RATE[config.mode] if config.learning_rate is None else config.learning_rate
        self.rule = config.rate_rule or DEFAULT_RULE[config.mode]
        self.keeps_dynamics = config.dynamics and data.joint is None
        self.judges_train = self.keeps_dynamics or self.schedule.needs_losses or self.rule == "accuracy"
        named = config.augment if config.augment != "auto" else "turns" if config.mode == "scratch" else "none"
        self.augment = () if features is not None else AUGMENT[named]
        self.chunk = config.batch_size  # images at a time: fewer where memory is short
        start = replace(weights, state=None) if config.mode == "scratch" else weights
        self.full = build(len(data.classes), start, config.seed, config.image_size, config.head_init).to(self.device)
        self.frozen = freeze(self.full, config.freeze)
        head = head_of(self.full, start)
        self.net: nn.Module = head if features is not None else self.full
        self.learner = ranks.wrap(self.net)
        self.optimizer, self.scheduler = self._optimizer()
        self.channels = channel_statistics(data.images, self.train) if config.normalise == "computed" else IMAGENET
        self.inputs = Inputs(data.images, self.device, self.channels, features)
        self.objective = Objective(data.labels, data.joint, self.device)
        backbone = None if features is not None else self.full
        self.judge = Judge(backbone, head, self.inputs, self.objective, ranks, config.knn_k, self._after_batch)
        self.epoch, self.samples_seen, self.subset_size = 0, 0, 0
        self.rows = np.empty(0, np.int64)  # which training examples the last epoch used
        self.losses: NDArray[np.float64] | None = None  # of the training examples, after the last epoch
        self.said: NDArray[np.float32] | None = None  # of the same: (3, n), the rows of difficulty.Dynamics
        self.train_accuracy: float | None = None
        self.peak: Peak | None = None
        self.best: Best | None = None
        self.stage_best: Best | None = None
        self.stage_results: list[StageResult] = []

    def _optimizer(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR | None]:
        config, scratch = self.config, self.config.mode == "scratch"
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        decay = config.weight_decay if config.weight_decay is not None else SCRATCH_WEIGHT_DECAY if scratch else 0.0
        name = config.optimizer or DEFAULT_OPTIMIZER[config.mode]
        optimizer: torch.optim.Optimizer
        if name == "sgd":
            momentum = config.momentum
            optimizer = torch.optim.SGD(
                learning, lr=self.base_rate, momentum=momentum, weight_decay=decay, nesterov=scratch and momentum > 0
            )
        else:
            kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
            optimizer = kind(learning, lr=self.base_rate, weight_decay=decay, fused=self.device.type in ("cpu", "cuda"))
        if self.rule != "one-cycle":
            return optimizer, None
        coming = [samples for _, samples in self.schedule.coming(0, 0)]
        steps = sum(self._steps(seen, samples) for seen, samples in zip(accumulate(coming, initial=0), coming, strict=False))
        middle = config.momentum if name == "sgd" else ADAM_MOMENTUM
        swing = min(MOMENTUM_SWING, middle, (1 - middle) / 2)  # against the rate's: as it goes up, momentum goes down
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.base_rate, total_steps=max(steps, 2), base_momentum=middle - swing, max_momentum=middle + swing
        )

    # -- one epoch -------------------------------------------------------------------------------

    def epochs(self) -> Iterator[EpochResult]:
        """Go on from where this training stands, one epoch at a time, to the end."""
        if self.schedule.needs_losses and self.losses is None:
            self.losses = self.judge(self.train, "ranking").losses
        while not (self.schedule.over(self.epoch, self.samples_seen) or self._stale()):
            yield self._run_epoch()

    def _stale(self) -> bool:
        """Whether val has got no better for as many epochs as patience allows."""
        return self.config.patience is not None and self.best is not None and self.epoch - self.best.epoch >= self.config.patience

    def _run_epoch(self) -> EpochResult:
        started = time.perf_counter()
        number, before = self.epoch + 1, self.samples_seen
        place = self.schedule.stage(self.epoch, before)
        lesson = self.schedule.lesson(self.epoch, before, self.losses)
        subset = self.train[lesson.rows]
        rate = self._set_rate()
        pass_started = time.perf_counter()
        running_loss = self._train_pass(subset, number, lesson.samples)
        pass_seconds = time.perf_counter() - pass_started
        seen = before + lesson.samples
        train_loss = self._judge_train(lesson.rows) if self.judges_train else None
        val, test = self._judge_held_out(number, before, seen)
        if not all(math.isfinite(loss) for loss in (running_loss, train_loss, val[1], test[1]) if loss is not None):
            raise RunError("the loss is no longer a number", got=f"epoch {number}, learning rate {rate:g}",
                           todo="Check the weights, or start again with a lower --learning-rate")  # fmt: skip
        self.samples_seen, self.subset_size, self.epoch, self.rows = seen, len(subset), number, lesson.rows
        self.schedule.learned(self.ranks.share(self.train_accuracy))
        if self.schedule.over(number, seen) or self.schedule.stage(number, seen) != place:
            self._end_stage(self.schedule.stages[place])
        return EpochResult(
            epoch=number, stage=lesson.stage, subset_size=len(subset), learning_rate=rate,
            train_loss=train_loss, train_accuracy=self.train_accuracy,
            val_loss=val[1], val_accuracy=val[0], val_knn=val[2], test_loss=test[1], test_accuracy=test[0], test_knn=test[2],
            seconds=time.perf_counter() - started, images_per_second=lesson.samples / pass_seconds, samples_seen=seen,
        )  # fmt: skip

    def _judge_train(self, rows: NDArray[np.int64]) -> float:
        """All training images, for the ranking and the dynamics; returns the loss on those in use, whose accuracy it keeps."""
        judged = self.judge(self.train, "train losses")
        self.losses = judged.losses
        if self.keeps_dynamics:
            error = difficulty.el2n(judged.probabilities, self.data.labels[self.train])
            self.said = np.stack([judged.losses, judged.margins, error]).astype(np.float32)
        self.train_accuracy = self.objective.accuracy(judged.probabilities[rows], self.train[rows])
        return float(judged.losses[rows].mean())

    def _judge_held_out(self, number: int, before: int, seen: int) -> tuple[Figures, Figures]:
        """Val, or in the reports' protocol test: after each epoch, or with a budget each time that as many samples as there are
        training images have been seen, so that no arm of a comparison has more models to choose from than another."""
        count = len(self.train)
        due = self.config.budget is None or before // count < seen // count or self.schedule.over(number, seen)
        found = (
            self.judge.figures(self.judge(self.val if self.honest else self.test, "val" if self.honest else "test")) if due else NO_FIGURES
        )
        val, test = (found, NO_FIGURES) if self.honest else (NO_FIGURES, found)
        if due:
            self._remember(number, val, test)
        return val, test

    def _set_rate(self) -> float:
        if self.scheduler is not None:
            return float(self.scheduler.get_last_lr()[0])
        rate = self.base_rate * (pacing.rate_factor(self.train_accuracy) if self.rule == "accuracy" else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _train_pass(self, subset: NDArray[np.int64], number: int, samples: int) -> float:
        """Train once on `samples` of the subset, shuffled; returns their mean loss as they came by."""
        order = subset[np.random.default_rng((self.config.seed, number)).permutation(len(subset))][:samples]
        augment = torch.Generator().manual_seed(self.config.seed * 100_003 + number + 7_919_000_003 * self.ranks.rank)
        self.net.train()
        for layer in self.frozen:
            layer.eval()
        losses, done = torch.zeros((), device=self.device), 0
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(layer_seed(self.config.seed, number, self.ranks.rank))
            for batch in self._batches(order):
                self._stop_if_asked()
                losses += self._step(batch, augment) * len(batch)
                done += len(batch)
                self.progress("training", min(done, samples), samples)
        self.ranks.agree(self.net)
        return self.ranks.mean(float(losses) / done)

    def _batches(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Batch norm can't train on a single image: the last one of an odd count joins the batch before, a lone one comes twice.

        With several ranks each needs as many, and every rank takes the same number of steps.
        """
        size, least = self.config.batch_size, self.ranks.size * (1 if self.inputs.stored else 2)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        if self.config.budget is not None:
            batches = np.array_split(order, self._steps(self.samples_seen, len(order)))
        if len(batches) > 1 and len(batches[-1]) < min(least, size):
            batches[-2:] = [np.concatenate(batches[-2:])]
        return [np.resize(batch, least) if len(batch) < least else batch for batch in batches]

    def _steps(self, seen: int, samples: int) -> int:
        """Of an epoch: a batch each; with a budget, which arms of a comparison share, as many for the same samples whatever the subset."""
        size = self.config.batch_size
        return math.ceil(samples / size) if self.config.budget is None else pacing.steps_within(seen, samples, size)

    def _step(self, batch: NDArray[np.int64], augment: torch.Generator) -> Tensor:
        """One step of the optimizer; returns the mean loss. Where memory runs out, with half as many images at a time."""
        while True:
            try:
                return self._descend(batch, augment)
            except Exception as error:
                if not no_memory(error) or self.chunk < 4 or self.ranks.size > 1:
                    raise
                self.chunk //= 2
                torch.cuda.empty_cache()

    def _descend(self, batch: NDArray[np.int64], augment: torch.Generator) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        mine = self.ranks.mine(batch)
        parts = np.array_split(mine, max(1, min(math.ceil(len(mine) / self.chunk), len(mine) // 2)))
        for number, part in enumerate(parts, 1):
            inputs = self.inputs(part)
            for change in self.augment:
                inputs = change(inputs, augment)
            with self.ranks.alone(self.learner) if number < len(parts) else nullcontext():
                with autocast(self.device):
                    logits = self.learner(inputs)
                loss = self.objective.losses(logits.float(), part).mean()
                share = loss * (len(part) * self.ranks.size / len(batch))  # the ranks' gradients are averaged
                share.backward()  # type: ignore[no-untyped-call]
            total += share.detach()
        self.optimizer.step()
        if self.scheduler is not None and self.scheduler.last_epoch < self.scheduler.total_steps - 1:  # self-paced: more steps may come
            self.scheduler.step()
        return total

    def _stop_if_asked(self) -> None:
        if self.ranks.any(self.should_stop()):
            raise CancelledError("the run was cancelled")

    def _after_batch(self, phase: str, done: int, total: int) -> None:
        self._stop_if_asked()
        self.progress(phase, done, total)

    # -- judging ---------------------------------------------------------------------------------

    def _remember(self, number: int, val: tuple[Any, Any, Any], test: tuple[Any, Any, Any]) -> None:
        """Honest: keep the epoch that is best on val. Report: the last epoch counts, the peak is only noted."""
        accuracy, loss = (val[0], val[1]) if self.honest else (float(number), 0.0)
        if not self.honest and (self.peak is None or test[0] > self.peak.accuracy):
            self.peak = Peak(test[0], number, test[1], test[2])
        if self.stage_best is None or self.stage_best.beaten_by(accuracy, loss):
            self.stage_best = Best(number, accuracy, loss, copy.deepcopy(self.net.state_dict()))
        if self.best is None or self.best.beaten_by(accuracy, loss):
            self.best = self.stage_best

    def _end_stage(self, stage: pacing.Stage) -> None:
        """Test the stage's model on its own levels and on all; nothing is chosen by it."""
        if self.config.mode == "staged":
            best = self.stage_best or Best(self.epoch, 0.0, 0.0, self.net.state_dict())
            outcome = self._judge_with(best.state, self.test, f"test of stage {stage.name}")
            own = np.isin(self.data.levels[self.test], [level for level in stage.levels if level >= 0])
            accuracy, loss, knn = self.judge.figures(outcome)
            self.stage_results.append(StageResult(
                stage.name, best.epoch,
                self.objective.accuracy(outcome.probabilities[own], self.test[own]) if own.any() else None,
                float(outcome.losses[own].mean()) if own.any() else None, int(own.sum()), accuracy, loss, knn,
            ))  # fmt: skip
        self.stage_best = None

    def _judge_with(self, state: dict[str, Tensor], indices: NDArray[np.int64], phase: str) -> Outcome:
        current = copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(state)
        try:
            return self.judge(indices, phase)
        finally:
            self.net.load_state_dict(current)

    def finish(self) -> Final:
        """Load the chosen epoch's parameters into the network and judge every example with it; test is read here."""
        assert self.best is not None
        self.net.load_state_dict(self.best.state)
        outcome = self.judge(np.arange(len(self.data.labels)), "predictions")
        at = {split: Outcome(rows, outcome.probabilities[rows], outcome.losses[rows], outcome.margins[rows], outcome.features[rows])
              for split, rows in (("val", self.val), ("test", self.test)) if len(rows)}  # fmt: skip
        test, val = self.judge.figures(at["test"]), self.judge.figures(at["val"]) if self.honest else (None, None)
        return Final(
            epoch=self.best.epoch,
            train_accuracy=self.objective.accuracy(outcome.probabilities[self.train], self.train),
            val_accuracy=val[0], val_loss=val[1],
            test_accuracy=test[0], test_loss=test[1], test_knn=test[2],
            peak=self.peak,
            stages=tuple(self.stage_results), outcome=outcome, notes=self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if not self.honest:
            notes.append("Protocol report: the peak over epochs was picked on the test set and is biased upwards.")
        what = "epochs" if self.config.budget is None else "samples"
        if self.config.mode in ("self-paced", "paced") and self.subset_size < len(self.train):
            wants = f" (a step wants train accuracy above {self.config.gate:g})" if self.config.mode == "self-paced" else ""
            notes.append(f"The {what} ran out while {self.subset_size} of {len(self.train)} training images were in use{wants}.")
        if self._stale() and not self.schedule.over(self.epoch, self.samples_seen):
            notes.append(f"It ended after epoch {self.epoch}: val had got no better for {self.config.patience} epochs.")
        if self.chunk < self.config.batch_size:
            notes.append(f"Memory was short: batches of {self.config.batch_size} went through {self.chunk} images at a time, "
                         "and batch norm saw as many.")  # fmt: skip
        unlabelled = int((self.data.levels[self.train] < 0).sum())
        unused = len(self.train) - len(np.unique(np.concatenate(self.schedule.members)))
        if self.config.mode == "staged" and unused:
            notes.append(f"{unused} of {len(self.train)} training images were never used: they are in no stage that has epochs.")
        elif self.config.mode == "staged" and unlabelled:
            notes.append(f"{unlabelled} of {len(self.train)} training images have no level; they joined in the last stage.")
        return tuple(notes)

    def expected_sizes(self) -> list[int]:
        """Samples of each epoch to come; self-paced as if every epoch passed the gate."""
        return [samples for _, samples in self.schedule.coming(self.epoch, self.samples_seen)]

    # -- stopping and going on -------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if nothing had happened; plain types and tensors only."""

        def plain(best: Best | None) -> dict[str, Any] | None:
            return None if best is None else {"epoch": best.epoch, "accuracy": best.accuracy, "loss": best.loss, "state": best.state}

        return {
            "net": self.full.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "epoch": self.epoch,
            "samples_seen": self.samples_seen,
            "subset_size": self.subset_size,
            "peak": None if self.peak is None else asdict(self.peak),
            "pace": (self.schedule.pace.steps, self.schedule.pace.passes),
            "chunk": self.chunk,
            "losses": None if self.losses is None else torch.from_numpy(self.losses),
            "train_accuracy": self.train_accuracy,
            "best": plain(self.best),
            "stage_best": plain(self.stage_best),
            "stage_results": [asdict(result) for result in self.stage_results],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state()` of the same configuration and data."""

        def best(record: dict[str, Any] | None) -> Best | None:
            return None if record is None else Best(**record)

        self.full.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.samples_seen, self.subset_size = state["epoch"], state["samples_seen"], state["subset_size"]
        peak = state["peak"] if "peak" in state else {"accuracy": state["peak_test"]}  # of a checkpoint from before its epoch was kept
        self.peak = Peak(**peak) if peak and not self.honest else None
        self.schedule.pace = pacing.Pace(*state["pace"])
        self.chunk = state.get("chunk", self.config.batch_size)  # of a checkpoint from before there was one
        self.losses = None if state["losses"] is None else state["losses"].numpy()
        self.train_accuracy = state["train_accuracy"]
        self.best, self.stage_best = best(state["best"]), best(state["stage_best"])
        self.stage_results = [StageResult(**record) for record in state["stage_results"]]
