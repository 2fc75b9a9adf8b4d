"""Jobs of many threads, done together: each gets its own answer, in the order in which they came, and a bad one spoils no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from curriculum.together import Together


def test_jobs_that_wait_are_done_together_up_to_a_size() -> None:
    line, calls, going = Together[int, int](10), list[list[int]](), threading.Event()

    def work(jobs: Sequence[int]) -> list[int]:
        calls.append(list(jobs))
        assert going.wait(20)
        return [job * job for job in jobs]

    with ThreadPoolExecutor(9) as pool:
        answers = []
        for job, size in [(0, 1), (1, 4), (2, 4), (3, 4), (4, 30), (5, 0), (6, 10)]:
            answers.append(pool.submit(line.do, job, size, work))
            while not calls or len(line._waiting) < job:  # the first is at work, the others wait in their order
                time.sleep(0.001)
        going.set()
        assert [answer.result(20) for answer in answers] == [0, 1, 4, 9, 16, 25, 36]
    assert calls == [[0], [1, 2], [3], [4], [5, 6]]


def test_a_job_that_cannot_be_done_spoils_no_other() -> None:
    line, first, calls = Together[int, float](10), threading.Event(), list[int]()

    def work(jobs: Sequence[int]) -> list[float]:
        calls.append(len(jobs))
        assert first.wait(20)
        return [1 / job for job in jobs]

    with ThreadPoolExecutor(5) as pool:
        answers = []
        for place, job in enumerate([1, 2, 0, 4]):
            answers.append(pool.submit(line.do, job, 1, work))
            while not calls or len(line._waiting) < place:
                time.sleep(0.001)
        first.set()
        for answer, job in zip(answers, [1, 2, 0, 4], strict=True):
            if job:
                assert answer.result(20) == 1 / job
            else:
                with pytest.raises(ZeroDivisionError):
                    answer.result(20)
    assert calls == [1, 3, 1, 1, 1]
    assert line.do(5, 1, work) == 0.2, "and it goes on"


def test_where_answers_are_missing_each_job_is_done_alone() -> None:
    line, first, calls = Together[int, int](10), threading.Event(), list[int]()

    def work(jobs: Sequence[int]) -> list[int]:
        calls.append(len(jobs))
        assert first.wait(20)
        return list(jobs)[:2]

    with ThreadPoolExecutor(4) as pool:
        answers = []
        for job in range(4):
            answers.append(pool.submit(line.do, job, 1, work))
            while not calls or len(line._waiting) < job:
                time.sleep(0.001)
        first.set()
        assert [answer.result(20) for answer in answers] == [0, 1, 2, 3]
    assert calls == [1, 3, 1, 1, 1]
