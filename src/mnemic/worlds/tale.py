"""A tale in chapters, for whoever needs a book: Mara carries a clock across the country.

Every chapter is a place, somebody met there, what they gave, what they wanted to hear and how she left; the
rest is weather and walking. So one may ask who gave the brass key, where she met the glazier, and which came
first.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mnemic.types import When
from mnemic.worlds.question import Question

_PLACES = (
    "Saltmarsh", "Upper Weir", "the Hollow Bridge", "Candlewick", "Thornhaven", "the Long Ferry", "Ashby Cross",
    "Wintergate", "the Seven Mills", "Dunmere", "Lark Abbey", "Fosse End", "the Glass Quay", "Harrow Fell",
    "Brackwater", "the Old Semaphore", "Tallow Green", "Merrow", "Stone Orchard", "the Last Toll",
)  # fmt: skip
_NAMES = (
    "Ansel", "Brida", "Corin", "Dorotea", "Edmund", "Fenna", "Gideon", "Hesper", "Isolde", "Jory", "Kestrel",
    "Lowell",
    "Marit", "Nils", "Ottoline", "Perrin", "Quill", "Roswitha", "Silas", "Tamsin",
)  # fmt: skip
_TRADES = (
    "glazier", "ferryman", "beekeeper", "midwife", "printer", "bell founder", "charcoal burner", "schoolmaster",
    "eel catcher", "cartographer", "rope maker", "apothecary", "shepherd", "lock keeper", "puppeteer", "miller",
    "dyer", "surgeon", "organist", "carter",
)  # fmt: skip
_GIFTS = (
    "a brass key", "a coil of red thread", "a map without names", "a jar of black salt", "a pair of spectacles",
    "a silver thimble", "a loaf with a coin in it", "a lantern of green glass", "a folded sail",
    "a tuning fork",
    "a blank almanac", "a whistle of bone", "a sack of walnuts", "a chisel", "a mirror the size of a palm",
    "a pot of honey", "a fiddle string", "a wax seal", "a grey feather", "a bottle of ink",
)  # fmt: skip
_PRICES = (
    "the story of her mother's house", "the names of all the bridges she had crossed", "a song about the frost",
    "the recipe for quince cheese", "news of the war in the south", "the trick with three walnut shells",
    "an account of the flood year", "the price of wool in the capital", "a riddle nobody there could solve",
    "the truth about the clock",
)  # fmt: skip
_WAYS = (
    "on the back of a hay cart", "on foot, by the sheep track", "in a boat that smelled of tar",
    "with the night mail",
    "on a borrowed mule", "along the tow path", "over the pass, roped to two strangers", "by the coast road",
)  # fmt: skip
_WEATHER = (
    "Rain stood in the ruts and the hedges dripped.",
    "The wind had gone round to the east and smelled of iron.",
    "It was one of those white mornings on which sound carries for miles.",
    "Snow lay on the north side of everything.",
    "The heat had silenced even the crickets.",
    "Mist came up from the ditches and took the road away piece by piece.",
    "A thin moon hung over the chimneys like something forgotten.", "Larks were up before the sun was.",
)  # fmt: skip
_WALKING = (
    "Mara counted her steps to keep from thinking, lost count at a thousand, and began again.",
    "The clock ticked against her spine, a little fast, as it always did when the weather was about to turn.",
    "She ate the last of the cheese under a lime tree and talked to the clock as one talks to a dog.",
    "Twice she took the wrong fork and twice an old woman with a goat put her right.",
    "At night she unwrapped the clock, wound it eleven times and wrapped it up again in the blue shawl.",
    "Nobody she passed asked what she carried, though everybody looked.",
    "She thought of the workshop, of the bench by the window, and of the chair that would be empty now.",
    "Somewhere behind her a dog barked at the dark, without conviction.",
    "Her boots had been resoled so often that she wondered whether they were still the same boots.",
    "There were milestones, but the numbers had been chiselled off in some earlier quarrel.",
)  # fmt: skip
_TALK = (
    "“You are late,” said {name}, who could not have known that she was coming at all.",
    "“Everyone who comes here is running from something,” {name} said. “Sit down and run later.”",
    "“Put it on the table where I can see it,” said {name}, and did not touch it.",
    "“I have heard of you,” said {name}. “They say that you never sleep in a bed twice.”",
    "“I can give you soup and no advice,” said {name}, and gave her a good deal of advice with the soup.",
)  # fmt: skip
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV",
"XVI", "XVII",
          "XVIII", "XIX", "XX")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tale:
    """The text, with headings as novels have them, and questions, whose `gold` counts chapters from 0."""

    title: str
    text: str
    questions: tuple[Question, ...]


def tale(seed: int, chapters: int = 12) -> Tale:
    """A tale of 1 to 20 chapters of some 400 words; the same for the same seed.

    Raises:
        ValueError: there are not that many chapters in it.
    """
    if not 1 <= chapters <= len(_ROMAN):
        raise ValueError(f"a tale has 1 to {len(_ROMAN)} chapters, not {chapters}")
    rng = random.Random(seed)
    cast = [rng.sample(pool, chapters) for pool in (_PLACES, _NAMES, _TRADES, _GIFTS)]
    title = "The Clock Carrier"
    parts = [title.upper()]
    questions: list[Question] = []
    now = When.parse("1851-10-18").start
    for number, (place, name, trade, gift) in enumerate(zip(*cast, strict=True)):
        price = rng.choice(_PRICES)
        shown = place if place[0].isupper() else place[0].upper() + place[1:]
        parts += [f"CHAPTER {_ROMAN[number]}. {shown}", *_chapter(rng, place, name, trade, gift, price)]
        thing = gift.split(" ", 1)[1]
        questions += [
            Question(f"Who handed over the {thing}?", "who", (name,), (number,), now),
            Question(f"Where did Mara meet the {trade}?", "where", (place,), (number,), now),
            Question(f"What did {name} ask for in return?", "what", (price,), (number,), now),
        ]
    return Tale(title, "\n\n".join(parts) + "\n", tuple(questions))


def _chapter(rng: random.Random, place: str, name: str, trade: str, gift: str, price: str) -> list[str]:
    walk = rng.sample(_WALKING, 8)
    weather = rng.sample(_WEATHER, 2)
    return [
        f"{weather[0]} {walk[0]} {walk[1]} When the roofs of {place} came in sight at last, she sat down on "
        f"a wall "
        "and did not go on until her heart had stopped hammering.",
        f"The first door that opened was that of {name}, the {trade}, a person of few words and cold hands. "
        f"{rng.choice(_TALK).format(name=name)} {walk[2]}",
        f"They sat up late. {walk[3]} {walk[4]} In the end it came out what {name} wanted from her, which was "
        f"{price}; and Mara, who had nothing else to pay with, gave it gladly and left nothing out.",
        f"“Then take this,” said {name} before it was light, and put {gift} into her hands. “You will know "
        f"when you "
        f"need it. I never did.” {walk[5]}",
        f"{weather[1]} She left {place} {rng.choice(_WAYS)}. {walk[6]} {walk[7]}",
    ]
