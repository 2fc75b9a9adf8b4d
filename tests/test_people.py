"""People: PINs, who leads, names that try to be somebody else's, and what guessing costs."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from curriculum import labels, people
from curriculum.errors import ConfigError, CurriculumError, SignInError, UnknownError
from curriculum.home import Home
from curriculum.store import Store
from tests.conftest import PIN


class Clock:
    """Seconds that go when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def roles(store: Store) -> dict[str, str]:
    return {person.name: person.role for person in people.list_people(store)}


# -- names and PINs ------------------------------------------------------------------------------


@pytest.mark.usefixtures("real_pins")
def test_a_pin_opens_its_name_alone(store: Store) -> None:
    people.register(store, " Ann  Lee ", PIN)
    people.register(store, "Bob", PIN)
    assert people.sign_in(store, "Ann Lee", PIN) == "Ann Lee"
    with pytest.raises(SignInError, match="don't fit"):
        people.sign_in(store, "Bob", "73 oakS")
    hashes = dict(store.rows("SELECT annotator, pin_hash FROM annotator"))
    assert all(value.startswith("$argon2id$") and PIN not in value for value in hashes.values())
    assert hashes["Ann Lee"] != hashes["Bob"]  # the same PIN, salted
    assert people.credential(store, "Ann Lee") not in (None, people.credential(store, "Bob"))


GUESSED = ["", "123", "0000", "1234", "4321", "abcd", "aaaaaa", "9876543", "Password", "73\n91", "x" * 65, "anna", "ANNA"]


@pytest.mark.parametrize("pin", GUESSED)
def test_pins_that_anybody_guesses_are_refused(store: Store, pin: str) -> None:
    with pytest.raises(ConfigError, match="4 to 64 printable characters"):
        people.register(store, "Anna", pin)
    assert people.role_of(store, "Anna") is None


@pytest.mark.parametrize("pin", ["7391", "ünïcødé", "a b c d", "😀😀😃😀", "x" * 63 + "y"])
def test_other_pins_are_taken(store: Store, pin: str) -> None:
    people.register(store, "Ann", pin)
    assert people.sign_in(store, "Ann", pin) == "Ann"


def test_a_pin_is_the_same_however_a_keyboard_composes_it(store: Store) -> None:
    people.register(store, "Ann", "cafe\N{COMBINING ACUTE ACCENT}s")
    assert people.sign_in(store, "Ann", "caf\N{LATIN SMALL LETTER E WITH ACUTE}s") == "Ann"


def test_a_name_is_taken_once_also_in_another_spelling(store: Store) -> None:
    people.register(store, "Ann", PIN)
    for name in ("Ann", "ann", "\N{FULLWIDTH LATIN CAPITAL LETTER A}nn", " ANN "):
        with pytest.raises(ConfigError, match="taken"):
            people.register(store, name, "other pin")
        assert people.sign_in(store, name, PIN) == "Ann"
    assert roles(store) == {"Ann": "lead"}


@pytest.mark.parametrize(
    "name", ["", " ", "simulated-1", "people", "all", "x" * 65, "a\x00b", "Ann\u202e", "a\u200bnn", "'; DROP TABLE annotator; --"]
)
def test_hostile_names_register_nobody_else(store: Store, name: str) -> None:
    people.register(store, "Ann", PIN)
    labels.add_annotator(store, "simulated-1", simulated=True)
    if "DROP" in name:
        assert people.register(store, name, "other pin") == name
    else:
        with pytest.raises(ConfigError):
            people.register(store, name, "other pin")
    with pytest.raises(SignInError, match="don't fit"):
        people.sign_in(store, name, PIN)
    assert people.sign_in(store, "Ann", PIN) == "Ann"


@given(name=st.text(max_size=70), pin=st.text(max_size=70))
def test_any_text_is_a_pin_within_the_limits_or_refused_with_a_reason(name: str, pin: str) -> None:
    try:
        taken = people.check_pin(pin, name)
    except ConfigError as refused:
        assert "4 to 64 printable characters" in str(refused)
    else:
        assert people.MIN_PIN <= len(taken) <= people.MAX_PIN and len(set(taken)) > 1


def test_a_name_without_a_pin_belongs_to_who_chooses_one_first(store: Store) -> None:
    labels.add_annotator(store, "Ann")
    with pytest.raises(SignInError, match="don't fit"):
        people.sign_in(store, "Ann", PIN)
    assert people.credential(store, "Ann") is None
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: _refusal(lambda: people.register(store, "Ann", f"pin of {n}")), range(4)))
    assert done.count("") == 1
    assert sum("taken" in reason for reason in done) == 3
    assert people.sign_in(store, "Ann", f"pin of {done.index('')}") == "Ann"


def _refusal(work: object) -> str:
    try:
        work()  # type: ignore[operator]
    except CurriculumError as error:
        return str(error)
    return ""


def test_a_changed_pin_ends_what_was_bound_to_the_old_one(store: Store) -> None:
    people.register(store, "Ann", PIN)
    before = people.credential(store, "Ann")
    with pytest.raises(SignInError, match="don't fit"):
        people.change_pin(store, "Ann", "wrong one", "new pin")
    with pytest.raises(ConfigError, match="everybody tries"):
        people.change_pin(store, "Ann", PIN, "1111")
    assert people.credential(store, "Ann") == before
    people.change_pin(store, "Ann", PIN, "new pin")
    assert people.credential(store, "Ann") not in (before, None)
    assert people.sign_in(store, "Ann", "new pin") == "Ann"
    with pytest.raises(SignInError):
        people.sign_in(store, "Ann", PIN)


@pytest.mark.usefixtures("real_pins")
def test_a_hash_of_weaker_days_is_made_anew_at_the_next_sign_in(store: Store) -> None:
    people.register(store, "Ann", PIN)
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PIN)
    with store.write() as cursor:
        cursor.execute("UPDATE annotator SET pin_hash = ?", [weak])
    assert people.sign_in(store, "Ann", PIN) == "Ann"
    assert "m=65536,t=3,p=4" in store.rows("SELECT pin_hash FROM annotator")[0][0]
    assert people.sign_in(store, "Ann", PIN) == "Ann"


# -- guessing ------------------------------------------------------------------------------------


def test_five_wrong_pins_cost_half_a_minute_and_then_twice_as_much_each_time(store: Store) -> None:
    people.register(store, "Ann", PIN)
    clock = Clock()
    waits = []
    for attempt in range(12):
        with pytest.raises(SignInError, match="don't fit"):
            people.sign_in(store, "Ann", "wrong", clock)
        if attempt < 4:
            continue
        with pytest.raises(SignInError, match="too many wrong PINs") as refused:
            people.sign_in(store, "Ann", PIN, clock)  # even the right one waits
        waits.append(str(refused.value).split("Wait ")[1].split(",")[0])
        clock.seconds += people._wait_seconds(attempt + 1)
    assert waits == ["30 s", "1 min", "2 min", "4 min", "8 min", "15 min", "15 min", "15 min"]
    assert people.sign_in(store, "Ann", PIN, clock) == "Ann"
    with pytest.raises(SignInError, match="don't fit"):  # counted from the beginning again
        people.sign_in(store, "Ann", "wrong", clock)


def test_each_name_has_its_own_count_known_or_not_and_it_is_forgotten(store: Store) -> None:
    people.register(store, "Ann", PIN)
    clock = Clock()
    answers: dict[str, list[str]] = {}
    for name in ("Ann", "Nobody"):
        answers[name] = [_refusal(lambda name=name: people.sign_in(store, name, "wrong", clock)) for _ in range(7)]
    assert answers["Ann"] == answers["Nobody"]
    assert "Wait 30 s" in answers["Ann"][-1]
    people.register(store, "Bob", PIN)
    assert people.sign_in(store, "Bob", PIN, clock) == "Bob"
    clock.seconds += people.FORGOTTEN_AFTER_SECONDS + 1
    people.sign_in(store, "Bob", PIN, clock)
    assert not [key for key in people._attempts if key[0] == str(store.home.root)]


def test_guesses_at_the_same_time_are_counted_as_well(store: Store) -> None:
    people.register(store, "Ann", PIN)
    start = threading.Barrier(12)

    def guess(n: int) -> str:
        start.wait()
        return _refusal(lambda: people.sign_in(store, "ann" if n % 2 else "Ann", f"guess {n}"))

    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(guess, range(12)))
    assert sum("don't fit" in one for one in said) == people.ATTEMPTS
    assert sum("too many" in one for one in said) == 12 - people.ATTEMPTS


@pytest.mark.usefixtures("real_pins")
def test_an_unknown_name_takes_as_long_as_a_wrong_pin(store: Store) -> None:
    people.register(store, "Ann", PIN)
    labels.add_annotator(store, "Imported")
    clock = Clock()

    def took(name: str) -> float:
        seconds = []
        for _ in range(7):
            clock.seconds += people.FORGOTTEN_AFTER_SECONDS * 2
            begin = time.perf_counter()
            _refusal(lambda: people.sign_in(store, name, "wrong", clock))
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)

    took("Ann")  # the first is made ready for
    known, unknown, without = took("Ann"), took("Nobody"), took("Imported")
    assert known > 0.02
    assert 0.4 < unknown / known < 2.5
    assert 0.4 < without / known < 2.5


# -- roles -----------------------------------------------------------------------------------------


def test_the_first_who_signs_in_leads_and_somebody_always_does(store: Store) -> None:
    labels.add_annotator(store, "simulated-1", simulated=True)
    labels.add_annotator(store, "Imported")
    people.register(store, "Ann", PIN)
    people.register(store, "Bob", PIN)
    people.register(store, "Imported", PIN)
    assert roles(store) == {"Ann": "lead", "Bob": "annotator", "Imported": "annotator"}
    with pytest.raises(ConfigError, match="somebody must lead"):
        people.set_role(store, "Ann", "annotator")
    people.set_role(store, "Bob", "lead")
    people.set_role(store, "Ann", "annotator")
    assert roles(store) == {"Ann": "annotator", "Bob": "lead", "Imported": "annotator"}
    with pytest.raises(ConfigError, match="Allowed: annotator, lead"):
        people.set_role(store, "Ann", "owner")  # type: ignore[arg-type]
    for name in ("Nobody", "simulated-1", "ann"):
        with pytest.raises(UnknownError, match="nobody has this name"):
            people.set_role(store, name, "lead")
    with pytest.raises(ConfigError, match="somebody must lead"):
        people.set_role(store, "Bob", "annotator")


def test_a_first_person_who_shall_not_lead_is_not_registered(store: Store) -> None:
    with pytest.raises(ConfigError, match="somebody must lead"):
        people.register(store, "Ann", PIN, "annotator")
    assert people.list_people(store) == []


def test_who_registered_in_an_older_database_leads_by_signing_in_first(home: Home) -> None:
    with Store.open(home) as store:
        for name in ("Ann", "Bob"):
            labels.add_annotator(store, name)
        people.register(store, "Bob", PIN)
        assert roles(store) == {"Ann": "annotator", "Bob": "lead"}


def test_a_reset_pin_is_chosen_anew_and_guesses_are_forgiven(store: Store) -> None:
    people.register(store, "Ann", PIN)
    for _ in range(6):
        _refusal(lambda: people.sign_in(store, "Ann", "wrong"))
    people.reset_pin(store, "Ann")
    assert people.credential(store, "Ann") is None
    assert [person.signs_in for person in people.list_people(store)] == ["not yet"]
    people.register(store, "Ann", "new pin")
    assert people.sign_in(store, "Ann", "new pin") == "Ann"
    assert roles(store) == {"Ann": "lead"}
    people.reset_pin(store, "Ann", "third pin")
    assert people.sign_in(store, "Ann", "third pin") == "Ann"
    with pytest.raises(UnknownError):
        people.reset_pin(store, "Nobody")


# -- a provider ------------------------------------------------------------------------------------


def test_a_name_that_a_provider_vouches_for_has_no_pin_and_takes_none(store: Store) -> None:
    people.register(store, "Ann", PIN)
    assert people.enter_from_provider(store, "bob@example.org") == "bob@example.org"
    first = people.credential(store, "bob@example.org")
    assert people.enter_from_provider(store, "bob@example.org") == "bob@example.org"
    assert people.credential(store, "bob@example.org") == first is not None
    assert [person.signs_in for person in people.list_people(store)] == ["PIN", "provider"]
    with pytest.raises(ConfigError, match="taken"):
        people.register(store, "bob@example.org", PIN)
    mark = store.rows("SELECT pin_hash FROM annotator WHERE annotator = 'bob@example.org'")[0][0]
    for pin in (PIN, mark, ""):
        with pytest.raises(SignInError):
            people.sign_in(store, "bob@example.org", pin)


def test_the_provider_takes_a_name_back_from_who_chose_a_pin_for_it(store: Store) -> None:
    people.register(store, "bob@example.org", PIN)
    before = people.credential(store, "bob@example.org")
    people.enter_from_provider(store, "bob@example.org")
    assert people.credential(store, "bob@example.org") != before
    with pytest.raises(SignInError):
        people.sign_in(store, "bob@example.org", PIN)


# -- who is there ----------------------------------------------------------------------------------


def test_the_list_says_what_the_log_knows(tiny: Store) -> None:
    people.register(tiny, "Ann", PIN)
    labels.add_annotator(tiny, "Bob")
    labels.annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    labels.annotate(tiny, "tiny", "a/a0.jpg", "Ann", "hard")
    labels.annotate(tiny, "tiny", "a/a1.jpg", "Ann", None)
    ann, bob = people.list_people(tiny)
    assert (ann.name, ann.role, ann.signs_in, ann.labels) == ("Ann", "lead", "PIN", 1)
    assert ann.last_seen is not None and ann.last_seen >= ann.since
    assert (bob.name, bob.role, bob.signs_in, bob.labels, bob.last_seen) == ("Bob", "annotator", "not yet", 0, None)


def test_a_namesakes_success_forgives_no_wrong_pins(store: Store) -> None:
    people.register(store, "Anna", PIN)
    labels.add_annotator(store, "anna")  # as an import does, which takes names as they are
    people.register(store, "anna", "another pin")
    for _ in range(people.ATTEMPTS):
        with pytest.raises(SignInError, match="don't fit"):
            people.sign_in(store, "Anna", "wrong")
        people.sign_in(store, "anna", "another pin")
    with pytest.raises(SignInError, match="too many wrong PINs"):
        people.sign_in(store, "Anna", "wrong")


def test_a_flood_is_turned_away_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    people.register(store, "Anna", PIN)
    monkeypatch.setattr(people, "_queue", threading.BoundedSemaphore(1))
    with people._turn(), pytest.raises(SignInError, match="too many people sign in"):
        people.sign_in(store, "Anna", PIN)
    assert people.sign_in(store, "Anna", PIN) == "Anna"


def test_what_is_typed_as_a_name_is_written_down_of_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SignInError):
        people.sign_in(store, "my secret pin", "Anna")
    (record,) = caplog.records
    assert record.__dict__["annotator"] == "somebody unknown"
