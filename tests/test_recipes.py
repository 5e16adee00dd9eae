import subprocess
import sys

import pytest

from mnemic import recipes
from mnemic.types import Claim, MnemicError


def test_listing_all_methods_imports_none_of_them() -> None:
    code = (
        "import sys; from mnemic import recipes; listed = recipes.recipes();"
        "rooms = {f'mnemic.{r.room}' for r in listed};"
        "sys.exit(str([m for m in sys.modules if m == 'torch' or m in rooms]) if "
        "any(m == 'torch' or m in rooms for m in sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("recipe", recipes.recipes(), ids=lambda each: f"{each.room}/{each.name}")
def test_every_method_loads_says_what_it_does_and_what_it_claims(recipe: recipes.Recipe) -> None:
    module = recipe.load()
    assert recipe.paper == module.PAPER
    assert 10 < len(recipe.summary) < 160
    claim = getattr(module, "CLAIM", None)
    assert claim is None or isinstance(claim, Claim)


def test_an_unknown_method_names_those_there_are() -> None:
    with pytest.raises(MnemicError, match="no method 'nothing' in kv"):
        recipes.load("kv", "nothing")
    with pytest.raises(MnemicError, match="no room 'attic'"):
        recipes.recipes("attic")


def test_recurrent_layers_are_listed_by_how_they_are_used() -> None:
    from mnemic.recurrent import names

    by_kind = [names(kind) for kind in ("causal", "encoder", "wrapper")]
    assert "delta-rule" in names()
    assert names() == by_kind[0]
    assert sorted(name for each in by_kind for name in each) == recipes.names("recurrent")
    with pytest.raises(
        MnemicError, match="no kind 'state' of method in recurrent; there are: causal, encoder, wrapper"
    ):
        names("state")  # type: ignore[arg-type]
