"""Words that stand for one another: irregular forms of a word, and everyday words for the same doings.

A question rarely repeats the words of what it is about: "where do I live" is answered by "moved to Porto".
Forms of one word count as that word; kin by meaning count a little less. Small on purpose.
"""

from __future__ import annotations

from functools import cache

from mnemic.index.words import terms

LIKE = 0.6  # what a word of the same meaning counts, beside 1 for the word itself

_FORMS = """
be was were been is are am; go went gone; leave left; buy bought; meet met; see saw seen; give gave
given; take took taken; get got gotten; come came; find found; lose lost; make made; tell told; say
said; think thought; begin began begun; speak spoke spoken; write wrote written; eat ate eaten;
drink drank drunk; drive drove driven; fly flew flown; run ran; sell sold; send sent; pay paid;
bring brought; build built; break broke broken; win won; fall fell fallen; feel felt; keep kept;
hold held; teach taught; sing sang sung; swim swam swum; wear wore worn; choose chose chosen; grow
grew grown; know knew known; hear heard; sleep slept; stand stood; sit sat; spend spent; catch
caught; draw drew drawn; fight fought; forget forgot forgotten; hide hid hidden; lead led; lend
lent; ride rode ridden; rise rose risen; shoot shot; steal stole stolen; throw threw thrown; wake
woke woken; understand understood; become became; bite bit bitten; child children; man men; woman
women; person people; foot feet; tooth teeth; mouse mice; die died death dead; bear born birth; wife
wives; life lives; knife knives; marry marriage married
"""
_MEANINGS = """
live reside settle move home stay dwell; work job employ employer office career; buy purchase get
acquire shop; begin start open launch found; finish end complete close stop; meet see visit dinner
lunch join encounter; leave quit depart resign; eat dinner lunch meal breakfast food cook; doctor
dentist physician clinic appointment; study learn course class lesson school; teach teacher lecturer
professor; travel trip journey visit fly holiday; car vehicle drive; repair fix mend; adopt get; pet
cat kitten; pet dog puppy; like love enjoy favourite favorite prefer; call phone ring; talk speak tell say chat
discuss; name call title; write author compose publish; build construct erect; make create; marry
wed wedding husband wife spouse; give present gift; die pass; child son daughter kid baby; lose
misplace; break damage crack; find discover; win prize award; big large; town city; money price cost
pay rent; sick ill; flat apartment house home; sport train exercise run gym; film movie cinema; song
music concert sing; book novel read; boss manager lead head chief; own have possess; play perform;
show exhibit; choose pick select; earn wage salary; plant grow garden; receive get accept; attend go
join; lend borrow; paint picture draw; old age; far distance; beat defeat; kill murder assassinate;
rule reign govern; rename rename call; hire employ recruit
"""


def _families(text: str) -> list[list[str]]:
    groups = (group.split() for group in text.split(";"))
    return [list(dict.fromkeys(stem for word in group for stem in terms(word))) for group in groups]


@cache
def _forms() -> dict[str, str]:
    return {stem: family[0] for family in _families(_FORMS) for stem in reversed(family)}


@cache
def _meanings() -> dict[str, frozenset[str]]:
    kin: dict[str, frozenset[str]] = {}
    for family in _families(_MEANINGS):
        base = frozenset(root(stem) for stem in family)
        for stem in base:
            kin[stem] = kin.get(stem, frozenset()) | base
    return kin


def root(stem: str) -> str:
    """The stem that the irregular forms of a word share; the stem itself if it has none."""
    return _forms().get(stem, stem)


def kin(stem: str) -> frozenset[str]:
    """Roots of everyday words for the same thing, itself included; empty if none are listed."""
    return _meanings().get(stem, frozenset())
