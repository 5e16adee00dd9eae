"""The people, places, pastimes and changing facts of a diary; told in one wording, asked in another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pastime:
    """Something done with somebody somewhere.

    Attributes:
        told: how a diary says it, with {who} and {where}.
        thing: the words of `told` that say what it was, in each of its forms.
        asked, asking: other words for it, as in "did we ..." and "the day of ...".
        site: the kind of place it needs.
    """

    told: tuple[str, ...]
    thing: str
    asked: str
    asking: str
    site: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of a person until it changes: how a diary tells the change, how one asks for it."""

    name: str
    told: tuple[str, ...]
    idle: tuple[str, ...]
    now: tuple[str, ...]
    then: str
    each: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routine:
    """Something done alone again and again, so that one may ask for the first, second or last time."""

    told: tuple[str, ...]
    asked: str


PEOPLE = (
    "Nora", "Tomas", "Ines", "Felix", "Mirja", "Owen", "Priya", "Luca", "Greta", "Hamid", "Sofie", "Bruno",
    "Yuki", "Anselm", "Carla", "Dmitri",
)  # fmt: skip

SITES = {
    "table": ("the Copper Kettle", "Café Marlow", "the Blue Door", "Bistro Tern", "the Corner Oven",
              "Mill House Inn"),
    "green": ("Larkspur Park", "the Abbey Meadow", "Quarry Wood", "the Orchard Lane plots", "Heron Hill",
              "Fernside"),
    "home": ("the flat on Harbour Street", "the cottage at Elm End", "the attic room", "number nine, Bell Yard",
             "the houseboat", "the workshop behind the station"),
    "hall": ("the Old Cinema", "Saint Bride's hall", "the Tramshed", "the Lantern Theatre", "Guild House",
             "the town library"),
    "water": ("the Lido", "Swan Lake", "the quarry pool", "Pebble Cove", "the river steps", "Grey Bay"),
    "shop": ("Page and Sons", "the flea market", "the Saturday stalls", "Tuckwell's", "the arcade",
             "Rope Walk"),
}  # fmt: skip

PASTIMES = (
    Pastime(("{who} and I shared a stack of pancakes at {where}", "Pancakes with {who} at {where}, twice over",
             "Met {who} at {where} and we both ordered the pancakes"),
            "pancakes", "eat breakfast out", "eating breakfast out", "table"),
    Pastime(("Lentil curry with {who} at {where}, hotter than promised",
             "{who} insisted on the lentil curry at {where}, so we had that",
             "At {where} {who} and I finished a whole pot of lentil curry"),
            "lentil curry", "have a spicy dinner", "having a spicy dinner", "table"),
    Pastime(("Lost three rounds of chess to {who} at {where}",
             "{who} brought the chess set to {where} and beat me",
             "A slow round of chess with {who} at {where}, drawn in the end"),
            "chess", "sit over a board game", "sitting over a board game", "table"),
    Pastime(("Tennis with {who} at {where}; my serve is a disgrace",
             "{who} and I played tennis at {where} until the light went",
             "Two sets of tennis against {who} at {where}"),
            "tennis", "face each other with rackets", "facing each other with rackets", "green"),
    Pastime(("Picked blackberries with {who} at {where}",
             "{who} knew where the blackberries grow at {where}, so we filled two tins",
             "Came home from {where} with {who} and three pounds of blackberries"),
            "blackberries", "gather fruit", "gathering fruit", "green"),
    Pastime(("Planted tulips with {who} at {where}", "{who} and I put forty tulips into the ground at {where}",
             "On my knees at {where} beside {who}, setting out tulips"),
            "tulips", "do some gardening", "doing some gardening", "green"),
    Pastime(("{who} and I flew the red kite at {where}",
             "Untangled the kite with {who} at {where}, then it soared",
             "A stiff breeze at {where}, and {who} had brought the kite"),
            "kite", "play in the wind", "playing in the wind", "green"),
    Pastime(("Baked rye bread with {who} at {where}", "{who} showed me how to knead rye bread at {where}",
             "The rye bread that {who} and I made at {where} came out like a brick"),
            "rye bread", "make a loaf", "making a loaf", "home"),
    Pastime(("{who} cut my hair at {where}, rather short",
             "Haircut from {who} at {where}; it takes off ten years",
             "Sat on a stool at {where} while {who} gave me a haircut"),
            "hair", "sort out how I look", "sorting out how I look", "home"),
    Pastime(("Sorted old photographs with {who} at {where}",
             "{who} and I spread the photographs over the floor at {where}",
             "Boxes of photographs at {where}; {who} could name nearly every face"),
            "photographs", "go through family pictures", "going through family pictures", "home"),
    Pastime(("{who} helped me patch the bicycle at {where}",
             "Bicycle upside down at {where}, {who} finding the hole in the tyre",
             "{who} and I took the bicycle apart at {where} and had one screw left over"),
            "bicycle", "fix my two-wheeler", "fixing my two-wheeler", "home"),
    Pastime(("An old western with {who} at {where}", "{who} picked the western that was on at {where}",
             "Sat in the front row at {where} with {who} for a western"),
            "western", "see a film", "seeing a film", "hall"),
    Pastime(("Heard a string quartet with {who} at {where}", "{who} had tickets for the quartet at {where}",
             "The quartet at {where} was so good that {who} wept"),
            "quartet", "attend a concert", "attending a concert", "hall"),
    Pastime(("{who} and I learned a waltz at {where}",
             "First steps of the waltz at {where}; {who} led, mercifully",
             "Waltz class at {where} with {who}, both of us counting aloud"),
            "waltz", "take a dancing lesson", "taking a dancing lesson", "hall"),
    Pastime(("A talk about volcanoes at {where} with {who}",
             "{who} dragged me to {where} to hear about volcanoes",
             "Volcanoes at {where}: {who} asked the best question of the evening"),
            "volcanoes", "listen to a lecture", "listening to a lecture", "hall"),
    Pastime(("Swam forty lengths with {who} at {where}", "{who} swam at {where} and shamed me into joining",
             "Cold swim with {who} at {where}"),
            "swim", "go into the water", "going into the water", "water"),
    Pastime(("Rowed a leaking dinghy across {where} with {who}",
             "{who} borrowed a dinghy and we drifted about {where}",
             "The dinghy, {who} and I at {where}, going in circles"),
            "dinghy", "go out in a boat", "going out in a boat", "water"),
    Pastime(("Sketched the herons with {who} at {where}", "{who} and I sat at {where} drawing herons",
             "Four herons at {where}, and {who} caught all of them in pencil"),
            "herons", "draw birds", "drawing birds", "water"),
    Pastime(("Browsed second-hand novels with {who} at {where}", "{who} found three novels for me at {where}",
             "Came out of {where} with {who} and far too many novels"),
            "novels", "look for something to read", "looking for something to read", "shop"),
    Pastime(("{who} talked me into a tweed coat at {where}",
             "Tried on a tweed coat at {where} while {who} laughed",
             "Bought the tweed coat; {who} haggled for it at {where}"),
            "tweed coat", "shop for clothes", "shopping for clothes", "shop"),
    Pastime(("Sold the old lamps with {who} at {where}",
             "{who} and I ran a stall at {where} and the lamps found takers",
             "Nobody wanted the lamps at {where} until {who} lit one"),
            "lamps", "get rid of things", "getting rid of things", "shop"),
)  # fmt: skip

FACTS = (
    Fact("home",
         ("{who} has moved to {value}", "{who} signed the lease on a flat in {value}",
          "Helped {who} carry the last box into the new place in {value}"),
         ("{who} dreams of {value} but will stay put", "A postcard from {who}, on holiday in {value}"),
         ("Which town is {who}'s home these days?", "Where would I visit {who} now?"),
         "Which town was {who} based in {when}?", "Name the towns {who} has called home, oldest first.",
         ("Porto", "Tallinn", "Graz", "Galway", "Ghent", "Turin", "Malmo", "Bergen", "Nantes", "Leipzig",
          "Cadiz", "Brno")),
    Fact("work",
         ("{who} has started as a {value}", "{who} was hired as a {value} and starts at once",
          "New job for {who}: {value}"),
         ("{who} was turned down as a {value}", "{who} says anybody can be a {value}, and laughs"),
         ("What does {who} do for a living at present?", "How does {who} currently earn money?"),
         "What did {who} do for a living {when}?", "List the professions {who} has had, oldest first.",
         ("beekeeper", "surveyor", "nurse", "tram driver", "piano tuner", "glazier", "translator", "ranger",
          "baker",
          "archivist", "welder", "pharmacist")),
    Fact("vehicle",
         ("{who} arrived in a {value}, bought this morning", "{who} traded everything in for a {value}",
          "{who} let me sit in the {value} that stands outside now, all paid for"),
         ("{who} nearly bought a {value} and thought better of it", "{who} borrowed a {value} for the weekend"),
         ("What does {who} drive now?", "Which car is {who}'s at the moment?"),
         "What did {who} drive {when}?", "Which cars has {who} owned, oldest first?",
         ("green van", "white hatchback", "yellow estate", "black pickup", "silver coupe", "red camper",
          "grey saloon",
          "orange jeep", "blue roadster", "brown minibus")),
    Fact("drink",
         ("{who} has given up everything but {value}", "{who} now takes {value}, nothing else",
          "From today it is {value} for {who}, doctor's orders"),
         ("{who} sent back the {value}", "{who} cannot stand {value}, it turns out"),
         ("Which hot drink should I offer {who} currently?", "What would {who} like in the cup nowadays?"),
         "Which hot drink was right for {who} {when}?", "Which hot drinks has {who} sworn by, oldest first?",
         ("mint tea", "black coffee", "cocoa", "chai", "rooibos", "oolong", "chicory", "hot lemon", "matcha")),
    Fact("club",
         ("{who} has joined the {value}", "{who} paid the fee and is one of the {value}",
          "{who} came wearing the badge of the {value}, sworn in last evening"),
         ("{who} finds the {value} far too solemn", "{who} went to watch the {value} once and fled"),
         ("Which society does {who} belong to at the moment?", "Whose member is {who} these days?"),
         "Which society did {who} belong to {when}?",
         "Which societies has {who} been a member of, oldest first?",
         ("bell ringers", "astronomers", "archers", "bookbinders", "rowers", "fencers", "choir",
          "mushroom hunters",
          "model railway crew")),
)  # fmt: skip

ROUTINES = (
    Routine(("The dentist polished and scolded", "An hour in the dentist's chair",
             "Dentist: nothing new, thank heavens"),
            "have my teeth looked at"),
    Routine(("Gave blood at the town hall", "Gave blood again; the biscuits were stale",
             "Gave blood, a pint, left arm"),
            "make a donation at the clinic's van"),
    Routine(("Scraped the roof gutters clean", "The gutters again: leaves and one tennis ball",
             "Up the ladder to the gutters"),
            "clear the rain pipes"),
    Routine(("Wrote a long letter to Aunt Hedda", "Posted four pages to Aunt Hedda",
             "A reply to Aunt Hedda at last"),
            "correspond with my mother's sister"),
)  # fmt: skip

OPENINGS = (
    "Rain until noon.", "A bright, cold day.", "Slept badly.", "Woke before the alarm.",
    "The street was up again.",
    "Fog over the roofs.", "Nothing in the post.", "A slow start.", "Wind all day.", "The kettle is broken.",
    "Everyone is talking about the bridge.", "Too warm for the coat.", "The lift is out of order.",
    "Market day.",
    "I forgot my keys.", "The neighbours are painting.", "Three missed calls.", "Hardly any work.",
    "A parcel for somebody else.", "The bells would not stop.",
)  # fmt: skip

CLOSINGS = (
    "We stayed longer than planned.", "I was home by nine.", "It cost next to nothing.", "I paid, for once.",
    "My feet hurt.", "A stranger joined in.", "I would do it again.", "It was over too soon.",
    "I forgot my umbrella there.",
    "We talked about nothing in particular.", "I laughed until it hurt.", "The bus back was full.",
    "I must remember the address.", "There was a dog that would not leave us alone.",
    "I took the long way back.",
    "Somebody's phone rang throughout.", "I have been tired ever since.", "We ran into the postman.",
    "A button came off my shirt.", "It smelled of paint.", "We argued about the way.", "I lent out my scarf.",
    "Nobody else was there.", "It began to hail.", "I learned a new word.",
)  # fmt: skip

FILLERS = (
    "Changed the bed linen and wound the clock.", "Paid the water bill, {n} in all.",
    "Counted {n} swallows from the window.",
    "The stairs creak on the step with the number {n}.", "Read {n} pages and remember none of them.",
    "Found {n} coins in the sofa.", "Soup, bread, an apple. Bed early.",
    "Nothing worth writing down, and I wrote it down.",
    "The radio played the same song {n} times.", "Mended the blue shirt, badly.",
    "Walked {n} steps, says the gadget.",
    "A jar of buttons: {n}, of which two match.", "Thought about getting a cat and thought again.",
    "The plant on the sill has {n} leaves now.", "Wrote {n} lines of a poem and crossed them out.",
)  # fmt: skip
