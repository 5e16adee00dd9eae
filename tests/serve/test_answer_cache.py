"""The semantic cache: what it may serve, what it must drop, and what it learns."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.cache.category import CATEGORIES, TYPICAL, Categories, ruled
from mnemic.serve.cache.fit import LEAST, Policy, Sample, fitted
from mnemic.serve.cache.meaning import figures, meaning, normalised
from mnemic.serve.category_cache import DAY, POLICIES, CategoryCache, Scope
from mnemic.store import Store
from mnemic.types import Record
from mnemic.worlds.traffic import Asked, Told, Traffic

NOW = 1.7e9
HERE = Scope("default", "quotes")

SAME = [
    ("How do I reverse a list in Python?", "In Python, how can I reverse a list?"),
    ("How do I reverse a list in Python?", "what is the best way to reverse a list using Python"),
    ("Who founded the Hask mill?", "Do you know who founded the Hask mill?"),
    ("What is the share price of Orrin?", "Could you tell me the share price of Orrin right now?"),
    ("Where do I live?", "tell me where I live"),
    ("What's Ann's age?", "What is the age of Ann?"),
    ("Which film did Ben buy?", "Which movie did Ben purchase?"),
    ("How do I open three files?", "How do I open 3 files?"),
]
DIFFERENT = [
    ("How do I convert euros to dollars?", "How do I convert dollars to euros?"),
    ("Did Ann pay Ben?", "Did Ben pay Ann?"),
    ("Is the Orr longer than the Tarn?", "Is the Tarn longer than the Orr?"),
    ("Does the dog chase the cat?", "Does the cat chase the dog?"),
    ("Which metal is mined in Hask?", "Which metal is not mined in Hask?"),
    ("Who came?", "Who didn't come?"),
    ("How do I copy a file?", "How do I copy a file without overwriting?"),
    ("Who ruled Hask in 1820?", "Who ruled Hask in 1840?"),
    ("Who ruled Hask before 1820?", "Who ruled Hask after 1820?"),
    ("How do I open 3 files?", "How do I open 4 files?"),
    ("How do I sort a list in Python?", "How do I sort a list in Ruby?"),
    ("Where do I live?", "Where did I live?"),
    ("Where do I live?", "Where do you live?"),
    ("Where did Ann buy the boat?", "When did Ann buy the boat?"),
    ("Where does my brother work?", "Where does my sister work?"),
    ("Can I eat the mushroom?", "Should I eat the mushroom?"),
    ("What is the largest port of Hask?", "What is the smallest port of Hask?"),
]  # fmt: skip


@pytest.fixture
def memory(tmp_path: Path, embedder: HashEmbedder) -> Iterator[Memory]:
    with Memory.open(tmp_path / "life.mnemic", embedder) as memory:
        yield memory


def by_rule(question: str) -> str:
    return ruled(question) or "knowledge"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(memory: Memory, embedder: HashEmbedder, clock: Clock) -> CategoryCache[str]:
    return CategoryCache(memory.store, embedder, categorise=by_rule, audit=0, clock=clock)


def ask(cache: CategoryCache[str], question: str, answer: str, cites: list[int] | None = None) -> str:
    """The answer served, or `answer` after keeping it."""
    found = cache.look(question, HERE)
    if found.value is None:
        cache.keep(found, answer, said=answer, cites=cites or [], seconds=2.0)
    return found.value or answer


def served(cache: CategoryCache[str], question: str, scope: Scope = HERE, load: float = 0.0) -> str | None:
    return cache.look(question, scope, load=load).value


# ------------------------------------------------------------------------------- meaning


@pytest.mark.parametrize(("one", "other"), SAME)
def test_wordings_of_one_question_mean_the_same(one: str, other: str) -> None:
    assert meaning(one, NOW) == meaning(other, NOW)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_reversal_denial_number_name_tense_and_kind_make_another_question(one: str, other: str) -> None:
    assert meaning(one, NOW) != meaning(other, NOW)


def test_yesterday_is_another_day_tomorrow() -> None:
    asked = "What did I eat yesterday?"
    assert meaning(asked, NOW) == meaning(asked, NOW + 60)
    assert meaning(asked, NOW) != meaning(asked, NOW + DAY)


def test_normalising_takes_off_only_what_never_matters() -> None:
    assert normalised("  Who  CAME? ") == normalised("who came")
    assert normalised("ﬁle") == "file"
    assert normalised("a-b") != normalised("a b")


def test_traffic_never_makes_two_meanings_one() -> None:
    """Over every question of the generated traffic: equal meaning, equal subject."""
    for seed in range(4):
        subjects: dict[object, str] = {}
        for event in Traffic(seed, 120):
            if isinstance(event, Asked):
                subject = " ".join(event.answer.split()[: 2 if event.kind == "personal" else 9])
                subject = subject.rsplit(" ", 1)[0] if event.kind == "state" else subject
                assert subjects.setdefault(meaning(event.text, event.at), subject) == subject, event.text


# ------------------------------------------------------------------------------- categories


@pytest.mark.parametrize(
    ("question", "category"),
    [
        ("How do I sort a list in Python?", "code"),
        ("What is the share price of Orrin?", "state"),
        ("Where did I park my car?", "personal"),
        ("Tell me a joke about owls", "chat"),
        ("Why is the sea salty?", None),
    ],
)
def test_rules_decide_where_words_leave_no_doubt(question: str, category: str | None) -> None:
    assert ruled(question) == category


def test_without_a_rule_the_nearest_typical_question_decides(embedder: HashEmbedder) -> None:
    categories = Categories(embedder)
    for category in CATEGORIES:
        for question in TYPICAL[category]:
            if ruled(question) is None:
                assert categories(question) == category
    assert Categories(None)("Why is the sea salty?") == "knowledge"


# ------------------------------------------------------------------------------- serving


def test_the_same_words_and_the_same_meaning_are_served(cache: CategoryCache[str]) -> None:
    assert ask(cache, "Who founded the Hask mill?", "Ada") == "Ada"
    assert served(cache, "who founded the hask mill") == "Ada"
    assert served(cache, "Do you know who founded the Hask mill?") == "Ada"
    counted = cache.stats()["knowledge"]
    assert (counted["exact"], counted["near"], counted["misses"], counted["seconds_saved"]) == (1, 1, 1, 4.0)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_only_sounds_alike_is_not_served(cache: CategoryCache[str], one: str, other: str) -> None:
    ask(cache, one, "first")
    assert served(cache, other) is None


def test_no_answer_crosses_a_space_a_model_or_a_filter(cache: CategoryCache[str]) -> None:
    ask(cache, "Who founded the mill?", "Ada")
    for scope in (
        Scope("other", "quotes"),
        Scope("default", "llm"),
        Scope("default", "quotes", ("source", "a")),
    ):
        assert served(cache, "Who founded the mill?", scope) is None


def test_without_an_embedder_only_the_same_words_are_served(memory: Memory) -> None:
    cache: CategoryCache[str] = CategoryCache(memory.store, None, audit=0)
    ask(cache, "Who founded the Hask mill?", "Ada")
    assert served(cache, "who founded the Hask mill") == "Ada"
    assert served(cache, "Do you know who founded the Hask mill?") is None


def test_each_category_has_its_lifetime(cache: CategoryCache[str], clock: Clock) -> None:
    ask(cache, "What is the weather in Hask?", "rain")
    ask(cache, "Who founded the Hask mill?", "Ada")
    clock.now += POLICIES["state"].lifetime + 1
    assert served(cache, "What is the weather in Hask?") is None
    assert served(cache, "Who founded the Hask mill?") == "Ada"
    assert cache.stats()["state"]["expired"] == 1


def test_a_full_load_loosens_threshold_and_lifetime_but_never_the_meaning(
    memory: Memory, embedder: HashEmbedder, clock: Clock
) -> None:
    policies = {name: Policy(0.99, 100.0, 1.0, give=0.5, stretch=1.0) for name in CATEGORIES}
    cache: CategoryCache[str] = CategoryCache(memory.store, embedder, policies=policies, audit=0, clock=clock)
    ask(cache, "Is the Orr longer than the Tarn?", "yes")
    asked = "Do you know: is the Orr longer than the Tarn?"
    assert served(cache, asked) is None
    clock.now += 150
    assert served(cache, asked, load=1.0) == "yes"
    assert served(cache, "Is the Tarn longer than the Orr?", load=1.0) is None


def test_a_category_past_its_quota_gives_up_its_own(memory: Memory, embedder: HashEmbedder) -> None:
    cache: CategoryCache[str] = CategoryCache(memory.store, embedder, room=20, audit=0)
    ask(cache, "How do I sort a list in Python?", "sorted(it)")
    for n in range(30):
        ask(cache, f"Tell me a joke about owl {n}", f"joke {n}")
    assert served(cache, "How do I sort a list in Python?") == "sorted(it)"
    assert cache.stats()["chat"]["entries"] == 3  # 15% of 20
    assert served(cache, "Tell me a joke about owl 29") == "joke 29"
    assert served(cache, "Tell me a joke about owl 0") is None


# ------------------------------------------------------------------------------- dropping


CHANGES: list[tuple[str, Callable[[Memory, int], object]]] = [
    ("superseded", lambda memory, id: memory.supersede(id, "Ada moved to Corle.")),
    ("forgotten", lambda memory, id: memory.forget([id])),
    ("purged", lambda memory, id: memory.forget([id], purge=True)),
    ("undone", lambda memory, id: memory.undo()),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_an_answer_goes_with_a_record_it_rests_on(
    memory: Memory, cache: CategoryCache[str], name: str, change: Callable[[Memory, int], object]
) -> None:
    memory.remember("A heron stood in the pond.", kind="turn")
    record = memory.remember("Ada lives in Aldham.", kind="turn")[0]
    ask(cache, "Where does Ada live?", "Aldham", [record.id])
    assert served(cache, "Where does Ada live?") == "Aldham"
    change(memory, record.id)
    assert served(cache, "Where does Ada live?") is None
    assert sum(it["dropped"] for it in cache.stats().values()) == 1


def test_a_change_of_something_else_leaves_it(memory: Memory, cache: CategoryCache[str]) -> None:
    heron = memory.remember("A heron stood in the pond.", kind="turn")[0]
    record = memory.remember("Ada lives in Aldham.", kind="turn")[0]
    ask(cache, "Where does Ada live?", "Aldham", [record.id])
    memory.forget([heron.id])
    memory.remember("The kettle sings at noon.", kind="turn")
    memory.remember("Ada lives in Corle.", kind="turn", space="other")
    assert served(cache, "Where does Ada live?") == "Aldham"


def test_something_new_that_is_nearer_than_what_it_rests_on_drops_it(
    memory: Memory, cache: CategoryCache[str]
) -> None:
    record = memory.remember("Ada lives in Aldham.", kind="turn")[0]
    ask(cache, "Where does Ada live?", "Aldham", [record.id])
    memory.remember("Ada lives in Corle since May.", kind="turn")
    assert served(cache, "Where does Ada live?") is None


def test_a_new_instruction_drops_what_was_said_without_it(memory: Memory, cache: CategoryCache[str]) -> None:
    ask(cache, "How far is the mill?", "three miles")
    memory.remember("Give distances in kilometres.", kind="profile")
    assert served(cache, "How far is the mill?") is None


@pytest.mark.parametrize("purge", [False, True])
def test_an_answer_given_under_an_instruction_goes_with_it(
    memory: Memory, cache: CategoryCache[str], purge: bool
) -> None:
    said = memory.remember("Give distances in kilometres.", kind="profile")[0]
    ask(cache, "How far is the mill?", "five kilometres")
    assert served(cache, "How far is the mill?") == "five kilometres"
    found = cache.look("How far is the barn?", HERE)
    memory.forget([said.id], purge=purge)
    assert served(cache, "How far is the mill?") is None
    assert not cache.keep(found, "two kilometres", said="two kilometres", cites=[])


def test_a_record_that_changes_while_the_answer_is_given_keeps_it_out(
    memory: Memory, cache: CategoryCache[str]
) -> None:
    record = memory.remember("Ada lives in Aldham.", kind="turn")[0]
    found = cache.look("Where does Ada live?", HERE)
    memory.forget([record.id])
    assert not cache.keep(found, "Aldham", said="Aldham", cites=[record.id])
    memory.undo()
    assert not cache.keep(found, "Aldham", said="Aldham", cites=[record.id])
    assert not cache.keep(found, "Aldham", said="Aldham", cites=[999])


def _forget(path: Path, id: int) -> None:
    with Store.open(path) as store:
        store.forget([id])


def test_another_process_that_forgets_drops_it_too(memory: Memory, cache: CategoryCache[str]) -> None:
    record = memory.remember("Ada lives in Aldham.", kind="turn")[0]
    ask(cache, "Where does Ada live?", "Aldham", [record.id])
    process = multiprocessing.get_context("fork").Process(
        target=_forget, args=(memory.store.path, record.id), daemon=True
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert served(cache, "Where does Ada live?") is None


def test_nothing_of_what_was_purged_is_left_in_the_cache(memory: Memory, cache: CategoryCache[str]) -> None:
    record = memory.remember("Ada hides the key under xylem pots.", kind="turn")[0]
    answer = "under xylem " + "pots"
    ask(cache, "Where does Ada hide the key to the xylem shed?", answer, [record.id])
    memory.forget([record.id], purge=True)
    cache.refresh()
    seen: set[int] = set()
    ahead: list[object] = [
        value for name, value in vars(cache).items() if name not in ("_store", "_embedder", "_categorise")
    ]
    while ahead:
        one = ahead.pop()
        assert not (isinstance(one, str) and "xylem" in one)
        if id(one) not in seen and not isinstance(one, type | Callable | np.ndarray):  # type: ignore[arg-type]
            seen.add(id(one))
            ahead += gc.get_referents(one)
    assert b"xylem" not in memory.store.path.read_bytes()


# ------------------------------------------------------------------------------- learning


def test_audits_answer_anew_and_count_what_had_changed(memory: Memory, embedder: HashEmbedder) -> None:
    cache: CategoryCache[str] = CategoryCache(memory.store, embedder, categorise=by_rule, audit=4)
    asked = "Who is the keeper of the Hask mill?"
    answers = ["Ada", *["Ada"] * 3, "Ben", *["Ben"] * 4]
    heard = [ask(cache, asked, answer) for answer in answers]
    counted = cache.stats()["knowledge"]
    assert counted["audited"] == 2
    assert counted["wrong"] == 1
    assert heard == answers


def brute_force(samples: list[Sample], target: float) -> int:
    """The most samples that any pair of thresholds seen may serve."""
    best = 0
    for t in {it.alike for it in samples}:
        for age in {it.age for it in samples}:
            some = [it for it in samples if it.alike >= t and it.age <= age]
            if (sum(not it.agree for it in some) + 0.5) / (len(some) + 1) <= target:
                best = max(best, len(some))
    return best


def test_a_fitted_policy_serves_nearly_the_most_that_the_target_allows() -> None:
    random = np.random.default_rng(3)
    alike, age = random.uniform(0.6, 1, 300), random.uniform(0, 1000, 300)
    samples = [Sample(float(s), float(a), bool(s > 0.8 and a < 600)) for s, a in zip(alike, age, strict=True)]
    policy = fitted(Policy(0.5, 1e6, 1.0), samples, 0.02)
    some = [it for it in samples if it.alike >= policy.threshold and it.age <= policy.lifetime]
    assert (sum(not it.agree for it in some) + 0.5) / (len(some) + 1) <= 0.02
    assert len(some) >= 0.85 * brute_force(samples, 0.02)


def test_few_samples_move_nothing_and_bad_ones_leave_only_the_same_words() -> None:
    policy = Policy(0.8, 100.0, 1.0)
    assert fitted(policy, [Sample(0.9, 1.0, False)] * (LEAST - 1), 0.01) == policy
    assert fitted(policy, [Sample(0.9, 1.0, False)] * LEAST, 0.01).threshold > 1
    good = fitted(policy, [Sample(0.9, 1.0, True)] * 200, 0.01)
    assert (good.threshold, good.lifetime) == (0.8, 100.0)


def test_fitted_policies_outlive_the_process_and_hold_numbers_only(
    memory: Memory, embedder: HashEmbedder, clock: Clock
) -> None:
    cache: CategoryCache[str] = CategoryCache(memory.store, embedder, audit=2, clock=clock)
    for n in range(200):
        clock.now += 30
        ask(cache, "What is the weather in Hask?", f"reading {n}")
    assert cache.policies["state"].threshold > 1
    again: CategoryCache[str] = CategoryCache(memory.store, embedder)
    assert again.policies["state"] == cache.policies["state"]
    assert "weather" not in (memory.store.get_meta("answer cache") or "")


def test_figures_are_what_agreeing_answers_share() -> None:
    assert figures("Three of 40 did not come.") == (("3", "40"), 1)


# ------------------------------------------------------------------------------- the workload


def test_traffic_is_the_same_for_a_seed_and_tells_before_it_asks() -> None:
    assert Traffic(5, 80).events == Traffic(5, 80).events != Traffic(6, 80).events
    told: set[int] = set()
    for event in Traffic(5, 80):
        if isinstance(event, Told):
            told.add(event.about)
        elif event.about is not None:
            assert event.about in told


def test_records_of_another_length_of_vector_fall_back_to_words(memory: Memory) -> None:
    cache: CategoryCache[str] = CategoryCache(memory.store, HashEmbedder("wide", 32), audit=0)
    ask(cache, "Where does Ada live?", "Aldham")
    memory.store.put([Record(text="The kettle sings.")])
    assert served(cache, "Where does Ada live?") == "Aldham"
    memory.store.put([Record(text="Ada left.")])
    assert served(cache, "Where does Ada live?") is None
